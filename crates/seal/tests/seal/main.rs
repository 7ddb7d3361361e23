//! Whole-crate tests of sealing.
mod people;
