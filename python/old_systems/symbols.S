// The C library's functions under the versions that they have had from the start, so that the module loads where glibc is 2.28.
// Newer ones gave some of them new versions: 2.34 moved threads and `dlopen` into libc.so.6, 2.29 and 2.35 changed what
// functions of libm.so.6 do with `errno`, which nothing here reads.

.macro first name version=GLIBC_2.2.5
    .symver first_\name, \name@\version
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    jmp first_\name@PLT
.endm

.text
first dladdr
first dlclose
first dlerror
first dlopen
first dlsym
first exp
first exp2
first hypot
first log
first log2
first pow
first pthread_attr_getguardsize
first pthread_attr_getstack
first pthread_attr_setstacksize
first pthread_create
first pthread_detach
first pthread_getattr_np
first pthread_join
first pthread_key_create
first pthread_key_delete
first pthread_setname_np, GLIBC_2.12
first pthread_setspecific

.section .note.GNU-stack, "", @progbits
