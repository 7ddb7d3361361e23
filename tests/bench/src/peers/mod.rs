//! Other programs that store and forward, measured beside us. Only on request, and where they are installed.

mod redis;
mod resp;
mod tls;

pub(crate) use redis::Redis;
