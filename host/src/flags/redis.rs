//! The Redis that holds the fleet's switches.

use std::time::Duration;

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, cmd};

use super::value::Flag;

/// Within this Redis answers, or it is away.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// No value of a flag is longer; what is there beyond is not read.
const LONGEST: usize = 64;

/// What stands under the two keys; `None`: nothing.
#[derive(Debug, Default, PartialEq)]
pub struct RawFlags {
    pub kill_switch: Option<String>,
    pub shadow_fraction: Option<String>,
}

pub struct Redis {
    client: Client,
    /// One that failed is not used again.
    connection: Option<MultiplexedConnection>,
    kill_switch_key: String,
    shadow_fraction_key: String,
}

impl Redis {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn open(flags: &settings::Flags) -> anyhow::Result<Redis> {
        client::use_ring();
        Ok(Redis {
            client: Client::open(flags.redis_url.expose()).context("flags.redis_url")?,
            connection: None,
            kill_switch_key: flags.kill_switch_key.clone(),
            shadow_fraction_key: flags.shadow_fraction_key.clone(),
        })
    }

    /// # Errors
    /// A server that is away, does not answer in time, or refuses.
    pub async fn read(&mut self) -> RedisResult<RawFlags> {
        let mut connection = self.connect().await?;
        let said = RawFlags {
            kill_switch: text(&mut connection, &self.kill_switch_key).await?,
            shadow_fraction: text(&mut connection, &self.shadow_fraction_key).await?,
        };
        self.connection = Some(connection);
        Ok(said)
    }

    /// Writes a flag, or with `None` removes it.
    ///
    /// # Errors
    /// As [`Redis::read`].
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

    /// The next call connects anew.
    pub fn hang_up(&mut self) {
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

/// What stands under `key`, or its beginning with a mark that there is more. What is no text cannot be a flag, and is
/// returned as a text that is none either. An empty text is a value as well.
async fn text(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<Option<String>> {
    let range = cmd("GETRANGE").arg(key).arg(0).arg(LONGEST).to_owned();
    let bytes: Result<Vec<u8>, RedisError> = range.query_async(connection).await;
    match bytes {
        Ok(bytes) if bytes.is_empty() => {
            let exists: bool = cmd("EXISTS").arg(key).query_async(connection).await?;
            Ok(exists.then(String::new))
        }
        Ok(bytes) if bytes.len() > LONGEST => Ok(Some(format!("{}...", String::from_utf8_lossy(&bytes[..LONGEST])))),
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Some("no string, but another type".to_owned())),
        Err(error) => Err(error),
    }
}
