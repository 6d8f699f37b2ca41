//! Models in a bucket of S3.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::{self, Path as Key};
use object_store::{ClientConfigKey, Error, ObjectStoreExt, RetryConfig};
use runtime::artefact::{Listing, Newest, Order};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::fault::{Fault, PATIENCE, Published};

/// Names in one answer.
const PAGE: usize = 1_000;
/// Requests for one listing.
const MAX_REQUESTS: usize = 1_000;
/// The last character there is: after every name that begins as what stands before it.
const LAST: char = char::MAX;

pub(super) struct Bucket {
    store: AmazonS3,
    /// What the name of every version begins with, with a `/` at its end.
    prefix: String,
}

/// What a listing meets.
enum Entry {
    /// Its name without what all begin with.
    Folder(String),
    Object(String, u64, String),
    /// A name that the store's client does not take.
    Odd(String),
}

impl Bucket {
    /// `rest` is the bucket and the folder in it. Asks nobody yet.
    pub(super) fn open(rest: &str, patience: Duration) -> Result<Bucket, Error> {
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let folder = Key::parse(folder.trim_matches('/'))?.join("ltr");
        Ok(Bucket {
            store: client_of(bucket, patience)?,
            prefix: format!("{folder}/"),
        })
    }

    pub(super) async fn newer(&self, order: &Order, above: Option<&str>) -> Result<Listing, Fault> {
        let mut newest = Newest::new(order, above);
        // Times are in the order of their names, so that what is older need not be listed.
        let after = above.filter(|above| order.oddity(above).is_none());
        let after = after.map(|above| format!("{}{above}/{LAST}", self.prefix));
        let listing = self.list(&self.prefix, after, |entry| {
            match entry {
                Entry::Folder(name) => {
                    if newest.wants(&name) {
                        newest.take(&name);
                    }
                }
                // The mark that some tools leave for a folder.
                Entry::Object(name, ..) if name.is_empty() => {}
                Entry::Object(name, ..) => newest.skip(&name, "not a folder"),
                Entry::Odd(name) => newest.skip(&name, "not a name that a version can have"),
            }
            true
        });
        listing.await?;
        Ok(newest.listing())
    }

    pub(super) async fn objects(&self, version: &str, most: usize) -> Result<Vec<Published>, Fault> {
        let mut objects = Vec::new();
        let prefix = format!("{}{version}/", self.prefix);
        let listing = self.list(&prefix, None, |entry| {
            if let Entry::Object(name, size, changes) = entry {
                objects.push((name, size, changes));
            }
            objects.len() < most
        });
        listing.await?;
        Ok(objects)
    }

    /// Names each entry of a folder, until `each` has had enough. The store's client gives up a whole answer for one
    /// name that it does not take, so such a name is closed in on with ever smaller answers, and stepped over.
    async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
        mut each: impl FnMut(Entry) -> bool,
    ) -> Result<(), Fault> {
        let mut options = PaginatedListOptions {
            delimiter: Some(Cow::Borrowed("/")),
            offset: after,
            ..PaginatedListOptions::default()
        };
        let mut names = PAGE;
        for _ in 0..MAX_REQUESTS {
            options.max_keys = Some(names);
            match answer(self.store.list_paginated(Some(prefix), options.clone())).await? {
                Ok(page) => {
                    let token = page.page_token.clone();
                    if !entries(page, prefix).into_iter().all(&mut each) {
                        return Ok(());
                    }
                    if token.is_none() {
                        return Ok(());
                    }
                    (options.page_token, options.offset) = (token, None);
                    names = PAGE.min(names * 2);
                }
                Err(Error::InvalidPath { .. }) if names > 1 => names /= 2,
                Err(Error::InvalidPath {
                    source: path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. },
                }) => {
                    each(Entry::Odd(path.strip_prefix(prefix).unwrap_or(&path).to_owned()));
                    (options.page_token, options.offset) = (None, Some(format!("{path}{LAST}")));
                }
                Err(error) => return Err(away(&error)),
            }
        }
        Ok(())
    }

    /// Downloads at most that many bytes of a file, and gives their number.
    pub(super) async fn download(&self, version: &str, name: &str, to: &Path, most: u64) -> Result<u64, Fault> {
        let key = Key::from(format!("{}{version}/{name}", self.prefix));
        let got = match answer(self.store.get(&key)).await? {
            Err(Error::NotFound { .. }) => return Err(Fault::Absent),
            got => got.map_err(|error| away(&error))?,
        };
        if got.meta.size > most {
            return Err(Fault::TooLarge);
        }
        let disk = |source| Fault::Disk {
            path: to.to_owned(),
            source,
        };
        let mut file = File::create_new(to).await.map_err(disk)?;
        let (mut stream, mut bytes) = (got.into_stream(), 0_u64);
        while let Some(chunk) = answer(stream.next()).await? {
            let chunk = chunk.map_err(|error| away(&error))?;
            bytes += chunk.len() as u64;
            if bytes > most {
                return Err(Fault::TooLarge);
            }
            file.write_all(&chunk).await.map_err(disk)?;
        }
        file.sync_all().await.map_err(disk)?;
        Ok(bytes)
    }
}

fn entries(page: PaginatedListResult, prefix: &str) -> Vec<Entry> {
    let name = |key: &Key| key.as_ref().strip_prefix(prefix).unwrap_or_default().to_owned();
    let folders = page.result.common_prefixes.iter().map(|key| Entry::Folder(name(key)));
    let objects = page.result.objects.iter().map(|object| {
        let changes = object
            .e_tag
            .clone()
            .unwrap_or_else(|| object.last_modified.to_rfc3339());
        Entry::Object(name(&object.location), object.size, changes)
    });
    folders.chain(objects).collect()
}

/// Waits for the store as long as that is of use.
async fn answer<T>(asked: impl Future<Output = T>) -> Result<T, Fault> {
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.map_err(|_| Fault::Away(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// What went wrong, without the answer's body: that is the server's to choose, and may name a key.
fn away(error: &Error) -> Fault {
    let text = error.to_string();
    let text = text.split(['<', '\n']).next().unwrap_or_default();
    Fault::Away(text.chars().take(300).collect::<String>().trim_end().to_owned())
}

/// Credentials, region and endpoint are the environment's, as with every client of S3.
fn client_of(bucket: &str, patience: Duration) -> Result<AmazonS3, Error> {
    use ClientConfigKey::{ConnectTimeout, Timeout};
    client::use_ring();
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let endpoints = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoints.iter().find_map(|key| builder.get_config_value(key));
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let builder = if plain { builder.with_allow_http(true) } else { builder };
    let setting = |seconds: u64| format!("{seconds}s");
    let builder = builder
        .with_config(
            AmazonS3ConfigKey::Client(ConnectTimeout),
            setting(PATIENCE.as_secs() / 2),
        )
        .with_config(AmazonS3ConfigKey::Client(Timeout), setting(patience.as_secs()));
    let retries = RetryConfig {
        max_retries: 2,
        retry_timeout: PATIENCE,
        ..RetryConfig::default()
    };
    builder.with_retry(retries).build()
}
