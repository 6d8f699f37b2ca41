//! Real servers, each in a folder of its own and on a free port of 127.0.0.1. They end with the value that stands for
//! them, also when a test panics.
//!
//! A server whose programs are not installed is a failure that says how to install them, never a test left out.

mod authority;
mod envoy;
mod https;
mod kafka;
mod nginx;
mod postgres;
mod process;
mod redis;
mod s3;
mod seaweed;
mod tmpfs;

pub use authority::{Authority, Identity};
pub use envoy::Envoy;
pub use https::https;
pub use kafka::Kafka;
pub use nginx::Nginx;
pub use postgres::Postgres;
pub use redis::Redis;
pub use s3::S3;
pub use seaweed::Seaweed;
pub use tmpfs::Tmpfs;
