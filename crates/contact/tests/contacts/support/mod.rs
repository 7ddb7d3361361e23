//! A small world to test contacts in.

pub(crate) mod person;
pub(crate) mod relay;
pub(crate) mod world;

pub(crate) use world::{ALICE, BOB, CAROL, Crash, DAVE, Faults, World};
