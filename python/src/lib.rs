//! The Python package admix.
