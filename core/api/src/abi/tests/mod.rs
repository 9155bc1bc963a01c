//! What a library may say of itself, and how its settings are read.

mod library;
mod manifest;
mod settings;
