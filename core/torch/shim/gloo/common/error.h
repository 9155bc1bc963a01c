// Stand-in for Gloo's header; see ../context.h.
#pragma once
