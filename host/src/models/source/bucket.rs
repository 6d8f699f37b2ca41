//! A source in an S3 bucket.

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

use super::fault::{Fault, PublishedFile, RESPONSE_TIMEOUT};

/// Maximum number of names per response.
const PAGE_SIZE: usize = 1_000;
/// Maximum number of requests per listing.
const MAX_REQUESTS: usize = 1_000;
/// The greatest character. A prefix followed by it sorts after every name with that prefix.
const MAX_CHAR: char = char::MAX;

pub(super) struct Bucket {
    store: AmazonS3,
    /// Prefix of every version's keys, with a `/` at its end.
    prefix: String,
}

/// An entry of a listing.
enum Entry {
    /// Its name without the prefix.
    Folder(String),
    /// Its name without the prefix, its size in bytes, and its ETag or else its time.
    Object(String, u64, String),
    /// A name that the store's client rejects.
    Invalid(String),
}

impl Bucket {
    /// `rest` is the bucket and the folder in it. Does not connect yet.
    pub(super) fn open(rest: &str, timeout: Duration) -> Result<Bucket, Error> {
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let folder = Key::parse(folder.trim_matches('/'))?.join("ltr");
        Ok(Bucket {
            store: client_of(bucket, timeout)?,
            prefix: format!("{folder}/"),
        })
    }

    pub(super) async fn newer(&self, order: &Order, above: Option<&str>) -> Result<Listing, Fault> {
        let mut newest = Newest::new(order, above);
        // Versions named by time sort by it, so older ones need not be listed.
        let after = above.filter(|above| order.oddity(above).is_none());
        let after = after.map(|above| format!("{}{above}/{MAX_CHAR}", self.prefix));
        let listing = self.list(&self.prefix, after, |entry| {
            match entry {
                Entry::Folder(name) => {
                    if newest.wants(&name) {
                        newest.take(&name);
                    }
                }
                // The marker that some tools create for a folder.
                Entry::Object(name, ..) if name.is_empty() => {}
                Entry::Object(name, ..) => newest.skip(&name, "not a folder"),
                Entry::Invalid(name) => newest.skip(&name, "not a name that a version can have"),
            }
            true
        });
        listing.await?;
        Ok(newest.listing())
    }

    pub(super) async fn objects(&self, version: &str, max_objects: usize) -> Result<Vec<PublishedFile>, Fault> {
        let mut objects = Vec::new();
        let prefix = format!("{}{version}/", self.prefix);
        let listing = self.list(&prefix, None, |entry| {
            if let Entry::Object(name, size, changes) = entry {
                objects.push((name, size, changes));
            }
            objects.len() < max_objects
        });
        listing.await?;
        Ok(objects)
    }

    /// Visits each entry of a folder, until `visit` returns false.
    ///
    /// The store's client rejects a whole response for one invalid name. The listing then asks for
    /// ever smaller responses until the invalid name is alone, and skips it.
    async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
        mut visit: impl FnMut(Entry) -> bool,
    ) -> Result<(), Fault> {
        let mut options = PaginatedListOptions {
            delimiter: Some(Cow::Borrowed("/")),
            offset: after,
            ..PaginatedListOptions::default()
        };
        let mut names = PAGE_SIZE;
        for _ in 0..MAX_REQUESTS {
            options.max_keys = Some(names);
            match within_timeout(self.store.list_paginated(Some(prefix), options.clone())).await? {
                Ok(page) => {
                    let token = page.page_token.clone();
                    if !entries(page, prefix).into_iter().all(&mut visit) {
                        return Ok(());
                    }
                    if token.is_none() {
                        return Ok(());
                    }
                    (options.page_token, options.offset) = (token, None);
                    names = PAGE_SIZE.min(names * 2);
                }
                Err(Error::InvalidPath { .. }) if names > 1 => names /= 2,
                Err(Error::InvalidPath {
                    source: path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. },
                }) => {
                    visit(Entry::Invalid(path.strip_prefix(prefix).unwrap_or(&path).to_owned()));
                    (options.page_token, options.offset) = (None, Some(format!("{path}{MAX_CHAR}")));
                }
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Ok(())
    }

    /// Downloads a file of at most `max_bytes`, and returns its size in bytes.
    pub(super) async fn download(&self, version: &str, name: &str, to: &Path, max_bytes: u64) -> Result<u64, Fault> {
        let key = Key::from(format!("{}{version}/{name}", self.prefix));
        let got = match within_timeout(self.store.get(&key)).await? {
            Err(Error::NotFound { .. }) => return Err(Fault::Absent),
            got => got.map_err(|error| unavailable(&error))?,
        };
        if got.meta.size > max_bytes {
            return Err(Fault::TooLarge);
        }
        let disk = |source| Fault::Disk {
            path: to.to_owned(),
            source,
        };
        let mut file = File::create_new(to).await.map_err(disk)?;
        let (mut stream, mut bytes) = (got.into_stream(), 0_u64);
        while let Some(chunk) = within_timeout(stream.next()).await? {
            let chunk = chunk.map_err(|error| unavailable(&error))?;
            bytes += chunk.len() as u64;
            if bytes > max_bytes {
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

/// Waits for a response, within the time limit.
async fn within_timeout<T>(request: impl Future<Output = T>) -> Result<T, Fault> {
    let response = tokio::time::timeout(RESPONSE_TIMEOUT, request).await;
    response.map_err(|_| Fault::Unavailable(format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs())))
}

/// The error without the body of the response, which the server chooses and which may name a key.
fn unavailable(error: &Error) -> Fault {
    let text = error.to_string();
    let text = text.split(['<', '\n']).next().unwrap_or_default();
    Fault::Unavailable(text.chars().take(300).collect::<String>().trim_end().to_owned())
}

/// Credentials, region and endpoint come from the environment, as for every S3 client.
fn client_of(bucket: &str, timeout: Duration) -> Result<AmazonS3, Error> {
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
            setting(RESPONSE_TIMEOUT.as_secs() / 2),
        )
        .with_config(AmazonS3ConfigKey::Client(Timeout), setting(timeout.as_secs()));
    let retries = RetryConfig {
        max_retries: 2,
        retry_timeout: RESPONSE_TIMEOUT,
        ..RetryConfig::default()
    };
    builder.with_retry(retries).build()
}
