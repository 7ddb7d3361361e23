//! Tests over every structure that is stored or sent: codec, schema and frozen vectors, all from one table.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod codec;
mod document;
mod generate;
mod raw;
mod samples;
mod schema;
mod sizes;
mod structures;
mod text_vectors;
mod vectors;
