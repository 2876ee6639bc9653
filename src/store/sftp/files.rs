//! Files of an SFTP server: written under a temporary name and given their own when they are whole, read by windows, and listed.

use super::link::{Connection, Failure, Link};
use crate::{
    error::{Error, Kind, Result},
    store::{ObjectInfo, key::too_short, temporary},
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use openssh_sftp_client::{
    Error as SftpError,
    error::SftpErrorKind,
    file::File,
    metadata::{MetaData, Permissions},
};
use std::{io::SeekFrom, ops::Range, path::Path, pin::Pin, sync::Arc};
use time::OffsetDateTime;
use tokio::io::AsyncSeekExt;

/// Bytes of a request, which servers take since ever, and how many such requests of a part or window are on their way.
const BITE: usize = 32 << 10;
const BITES: usize = 32;

/// Folders that are listed at a time.
const LISTS: usize = 8;

type Sftp<T> = std::result::Result<T, SftpError>;

/// The error for something that could not be done.
pub(super) fn explain(what: &str, uri: &str, failure: Failure) -> Error {
    match failure {
        Failure::Broken(e) => e.context(format!("{what} {uri}")),
        Failure::Answered(kind, said) => {
            let error =
                Error::new(Kind::Store, format!("{what} {uri}: the server says {}", said.trim().to_lowercase()));
            match kind {
                SftpErrorKind::PermDenied => {
                    error.hint("give the user the right to read and write that folder of the server")
                }
                SftpErrorKind::NoSuchFile => error.hint("check the path of --destination"),
                _ => error.hint("check the server's free space and its log"),
            }
        }
    }
}

pub(super) fn is_absent(failure: &Failure) -> bool {
    matches!(failure, Failure::Answered(SftpErrorKind::NoSuchFile, _))
}

fn absent(e: &SftpError) -> bool {
    matches!(e, SftpError::SftpError(SftpErrorKind::NoSuchFile, _))
}

/// Makes an empty file that nobody has, and the folders around it, for their owner alone.
pub(super) async fn create(link: &Link, path: &str) -> Result<(), Failure> {
    link.run(|connection| async move {
        let mut file = match open_new(&connection, path).await {
            Err(e) if absent(&e) => {
                make_folders(&connection, path).await;
                open_new(&connection, path).await?
            }
            // This very call may have made it, and lost the answer.
            Err(e) if size(&connection, path).await?.is_none() => return Err(e),
            opened => match opened {
                Ok(file) => file,
                Err(_) => connection.sftp.options().write(true).open(path).await?,
            },
        };
        // A server without rights takes it for an error.
        let _ = file.set_permissions(*Permissions::new().set_read_by_owner(true).set_write_by_owner(true)).await;
        file.close().await
    })
    .await
}

async fn open_new(connection: &Connection, path: &str) -> Sftp<File> {
    connection.sftp.options().write(true).create_new(true).open(path).await
}

/// Makes the folders around a file. One that is there already is an error like any other to a server: whether all are there shows when the
/// file is made.
async fn make_folders(connection: &Connection, path: &str) {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut fs = connection.sftp.fs();
    for end in folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]).filter(|end| *end > 0) {
        let owner = *Permissions::new().set_read_by_owner(true).set_write_by_owner(true).set_execute_by_owner(true);
        let _ = fs.dir_builder().permissions(owner).create(&folder[..end]).await;
    }
}

/// Writes bytes at their place in a file that is there.
pub(super) async fn write(link: &Link, path: &str, offset: u64, body: &Bytes) -> Result<(), Failure> {
    link.run(|connection| async move {
        let file = connection.sftp.options().write(true).open(path).await?;
        let bites = (0..body.len()).step_by(BITE).map(|at| {
            let (mut file, bite) = (file.clone(), body.slice(at..(at + BITE).min(body.len())));
            async move {
                file.seek(SeekFrom::Start(offset + at as u64)).await?;
                file.write_all(&bite).await
            }
        });
        // A list of their own: a closure that borrows is not general enough for what is sent between threads.
        let bites: Vec<_> = bites.collect();
        stream::iter(bites).buffer_unordered(BITES).try_collect::<()>().await?;
        file.close().await
    })
    .await
}

/// Has what was written be on the server's disk, where it can say so. Its size.
pub(super) async fn settle(link: &Link, path: &str) -> Result<u64, Failure> {
    link.run(|connection| async move {
        let mut file = connection.sftp.options().write(true).open(path).await?;
        if connection.sftp.support_fsync() {
            file.sync_all().await?;
        }
        file.close().await?;
        Ok(size(&connection, path).await?.unwrap_or(u64::MAX))
    })
    .await
}

/// Gives what was written its name; `new` when nothing may have that name.
pub(super) async fn publish(link: &Link, temp: &str, path: &str, uri: &str, new: bool) -> Result<()> {
    let taken = || Error::new(Kind::Exists, format!("{uri} exists already"));
    let published = link.run(|connection| async move {
        let mut fs = connection.sftp.fs();
        if !new {
            return match fs.rename(temp, path).await {
                // Without the extension a name that is taken is an error; and the answer to a rename may have been lost.
                Err(e) if !connection.sftp.support_posix_rename() && size(&connection, path).await?.is_some() => {
                    if size(&connection, temp).await?.is_none() {
                        return Ok(true);
                    }
                    fs.remove_file(path).await.map_err(|_| e)?;
                    fs.rename(temp, path).await.map(|()| true)
                }
                Err(e) if absent(&e) && size(&connection, path).await?.is_some() => Ok(true),
                renamed => renamed.map(|()| true),
            };
        }
        // A link is refused where the name is taken, whoever else asks for it meanwhile.
        if connection.sftp.support_hardlink() && fs.hard_link(temp, path).await.is_ok() {
            fs.remove_file(temp).await?;
            return Ok(true);
        }
        if size(&connection, path).await?.is_some() {
            return Ok(false);
        }
        fs.rename(temp, path).await.map(|()| true)
    });
    let published = published.await;
    if matches!(published, Ok(true)) {
        return Ok(());
    }
    // Nobody else knows the name.
    let _ = remove(link, temp, "").await;
    published.map_err(|f| explain("cannot store", uri, f)).and_then(|done| if done { Ok(()) } else { Err(taken()) })
}

async fn size(connection: &Connection, path: &str) -> Sftp<Option<u64>> {
    match connection.sftp.fs().metadata(path).await {
        Ok(meta) => Ok(meta.file_type().is_none_or(|t| t.is_file()).then(|| meta.len().unwrap_or(0))),
        Err(e) if absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The size of a file, if it is there and no folder.
pub(super) async fn look(link: &Link, path: &str) -> Result<Option<u64>, Failure> {
    link.run(|connection| async move { size(&connection, path).await }).await
}

/// The bytes of a range.
pub(super) async fn read(link: &Link, path: &str, range: Range<u64>, uri: &str) -> Result<Bytes> {
    let wanted = &range;
    let read = link.run(|connection| async move {
        let file = connection.sftp.open(path).await?;
        let bites: Vec<_> = (wanted.start..wanted.end)
            .step_by(BITE)
            .map(|at| bite(file.clone(), at..(at + BITE as u64).min(wanted.end)))
            .collect();
        let bites: Vec<BytesMut> = stream::iter(bites).buffered(BITES).try_collect().await?;
        file.close().await?;
        Ok(bites.concat())
    });
    let bytes = read.await.map_err(|f| explain("cannot read", uri, f))?;
    // The file was cut while it was being read.
    if (bytes.len() as u64) < range.end - range.start { Err(too_short(uri, None, &range)) } else { Ok(bytes.into()) }
}

/// A server may give less than was asked for.
async fn bite(mut file: File, range: Range<u64>) -> Sftp<BytesMut> {
    let mut bytes = BytesMut::with_capacity(BITE);
    loop {
        let at = range.start + bytes.len() as u64;
        if at >= range.end {
            return Ok(bytes);
        }
        Pin::new(&mut file).seek(SeekFrom::Start(at)).await?;
        match file.read((range.end - at) as u32, BytesMut::new()).await? {
            Some(more) if !more.is_empty() => bytes.extend_from_slice(&more),
            _ => return Ok(bytes),
        }
    }
}

/// Removes a file, and the folders that it leaves empty below `root`. No error when it is not there.
pub(super) async fn remove(link: &Link, path: &str, root: &str) -> Result<(), Failure> {
    let removed = link.run(|connection| async move {
        let mut fs = connection.sftp.fs();
        fs.remove_file(path).await?;
        let mut folder = path;
        while let Some((above, _)) = folder.rsplit_once('/') {
            folder = above;
            // A folder that is not empty stays, and so does all above it.
            if root.is_empty() || folder.len() <= root.len() || fs.remove_dir(folder).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    match removed.await {
        Err(failure) if is_absent(&failure) => Ok(()),
        removed => removed,
    }
}

/// What lies in a folder: names and what is known of them. Nothing when there is no such folder.
pub(super) async fn entries(link: &Link, folder: &str) -> Result<Vec<(String, MetaData)>, Failure> {
    link.run(|connection| async move {
        let dir = match connection.sftp.fs().open_dir(folder).await {
            Err(e) if absent(&e) => return Ok(Vec::new()),
            dir => dir?,
        };
        let mut found = Vec::new();
        let mut reading = Box::pin(dir.read_dir());
        while let Some(entry) = reading.try_next().await? {
            if let Some(name) = entry.filename().to_str().filter(|name| !matches!(*name, "." | "..")) {
                found.push((name.to_owned(), entry.metadata()));
            }
        }
        Ok(found)
    })
    .await
}

/// All files below the folder of `prefix` whose key begins with it: those that are whole, or those that are not.
pub(super) async fn walk(
    link: &Arc<Link>,
    root: &str,
    prefix: &str,
    unfinished: bool,
) -> Result<Vec<ObjectInfo>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![prefix.rfind('/').map_or("", |slash| &prefix[..=slash]).to_owned()];
    while !folders.is_empty() {
        let listing: Vec<_> = std::mem::take(&mut folders)
            .into_iter()
            .map(|folder| async move {
                let path = below(root, folder.trim_end_matches('/'));
                entries(link, &path).await.map(|entries| (folder, entries))
            })
            .collect();
        let listed: Vec<_> = stream::iter(listing).buffer_unordered(LISTS).try_collect().await?;
        for (folder, entries) in listed {
            for (name, meta) in entries {
                let key = format!("{folder}{name}");
                if meta.file_type().is_some_and(|t| t.is_dir()) {
                    if key.starts_with(prefix) {
                        folders.push(format!("{key}/"));
                    }
                } else if temporary::is(&key) == unfinished {
                    let modified = meta.modified().map_or(OffsetDateTime::UNIX_EPOCH, |m| m.as_system_time().into());
                    found.push(ObjectInfo { key, size: meta.len().unwrap_or(0), modified });
                }
            }
        }
    }
    if !unfinished {
        found.retain(|o| o.key.starts_with(prefix));
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// A key as a path of the server.
pub(super) fn below(root: &str, key: &str) -> String {
    match key {
        "" => root.to_owned(),
        key => Path::new(root).join(key).to_string_lossy().into_owned(),
    }
}
