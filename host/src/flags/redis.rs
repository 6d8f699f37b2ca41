//! The client of the Redis that holds the fleet's switches.

use std::time::Duration;

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, cmd, pipe};

use super::value::Flag;

/// Redis counts as down if it does not answer within this time.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum length of a value that is read, in bytes. Valid values are shorter.
const MAX_VALUE_BYTES: usize = 64;

/// The texts under the two keys, not yet parsed; `None`: no value.
#[derive(Debug, Default, PartialEq)]
pub struct RawFlags {
    /// The text under `flags.kill_switch_key`.
    pub kill_switch: Option<String>,
    /// The text under `flags.shadow_fraction_key`.
    pub shadow_fraction: Option<String>,
}

/// A client that keeps one connection open. Connecting and each answer may take [`PATIENCE`].
pub struct Redis {
    client: Client,
    /// The open connection. After a failure it is dropped, and the next call connects again.
    connection: Option<MultiplexedConnection>,
    kill_switch_key: String,
    shadow_fraction_key: String,
}

impl Redis {
    /// Does not connect yet.
    ///
    /// # Errors
    /// `flags.redis_url` is not a valid URL.
    pub fn open(flags: &settings::Flags) -> anyhow::Result<Redis> {
        client::use_ring();
        Ok(Redis {
            client: Client::open(flags.redis_url.expose()).context("flags.redis_url")?,
            connection: None,
            kill_switch_key: flags.kill_switch_key.clone(),
            shadow_fraction_key: flags.shadow_fraction_key.clone(),
        })
    }

    /// Reads both flags.
    ///
    /// # Errors
    /// The server is down, does not answer in time, or refuses the command.
    pub async fn read(&mut self) -> RedisResult<RawFlags> {
        let mut connection = self.connect().await?;
        let raw = RawFlags {
            kill_switch: text(&mut connection, &self.kill_switch_key).await?,
            shadow_fraction: text(&mut connection, &self.shadow_fraction_key).await?,
        };
        self.connection = Some(connection);
        Ok(raw)
    }

    /// Writes a flag; `None` removes it.
    ///
    /// # Errors
    /// Like [`Redis::read`].
    pub async fn write(&mut self, flag: Flag, value: Option<&str>) -> RedisResult<()> {
        let mut connection = self.connect().await?;
        let key = self.key(flag);
        let command = match value {
            Some(value) => cmd("SET").arg(key).arg(value).to_owned(),
            None => cmd("DEL").arg(key).to_owned(),
        };
        command.exec_async(&mut connection).await
    }

    /// The key that holds a flag.
    pub fn key(&self, flag: Flag) -> &str {
        match flag {
            Flag::KillSwitch => &self.kill_switch_key,
            Flag::ShadowFraction => &self.shadow_fraction_key,
        }
    }

    /// Drops the connection; the next call connects again.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Reads the text under `key`. A longer text is cut and marked with `...`. A value of another type
/// becomes a text that no flag accepts, so parsing rejects it. An empty text is a value too.
async fn text(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<Option<String>> {
    let range = cmd("GETRANGE").arg(key).arg(0).arg(MAX_VALUE_BYTES).to_owned();
    let bytes: Result<Vec<u8>, RedisError> = range.query_async(connection).await;
    match bytes {
        // A missing value reads as an empty one. One transaction tells them apart: a value that is set
        // between two commands would be taken for an empty one.
        Ok(bytes) if bytes.is_empty() => {
            let mut both = pipe();
            both.atomic().cmd("EXISTS").arg(key).add_command(range);
            let (exists, bytes): (bool, Vec<u8>) = both.query_async(connection).await?;
            Ok(exists.then(|| shown(&bytes)))
        }
        Ok(bytes) => Ok(Some(shown(&bytes))),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some("a Redis type other than string".to_owned())),
        Err(error) => Err(error),
    }
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() > MAX_VALUE_BYTES {
        return format!("{}...", String::from_utf8_lossy(&bytes[..MAX_VALUE_BYTES]));
    }
    String::from_utf8_lossy(bytes).into_owned()
}
