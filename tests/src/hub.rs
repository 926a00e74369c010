//! A hub on the loopback interface that serves one model, like the public hub or with the faults that a test selects.
//!
//! Small files are served at the hub's own address. Weights are links to a second address, with a SHA-256, like LFS
//! files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};

/// The commit of every served model.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Faults of a server; the default has none.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// Closes the connection after this many bytes of weights.
    pub cut: Option<usize>,
    /// Stops sending after this many bytes of weights.
    pub stall: Option<usize>,
    /// Answers every request with this status and error code.
    pub refuse: Option<(u16, &'static str)>,
    /// Ignores requested ranges and sends whole files.
    pub no_ranges: bool,
    /// Announces this size of the weights before they are fetched.
    pub claim: Option<u64>,
    /// Sends weights without their length.
    pub no_length: bool,
    /// Sends weights with one wrong byte.
    pub wrong_byte: bool,
    /// Sends this commit.
    pub commit: Option<&'static str>,
}

/// One received request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// HEAD or GET.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Range`.
    pub range: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Whether it was sent to the second address.
    pub elsewhere: bool,
}

struct State {
    repo: String,
    /// A name that is answered with a redirect to the repository.
    moved: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
    manners: Manners,
    asked: Vec<Asked>,
}

/// A server that runs until the test ends.
pub struct HubServer {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    /// Serves the files of a directory as the model `repo`.
    ///
    /// # Panics
    /// If the loopback interface or the directory cannot be used.
    pub fn new(repo: &str, directory: &Path) -> Self {
        let listen = || TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (hub, elsewhere) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let entries = std::fs::read_dir(directory).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let named = paths.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path));
        let files = named
            .filter(|(name, _)| name != "golden.safetensors")
            .map(|(name, path)| (name, std::fs::read(path).expect("a file")))
            .collect();
        let state = State { repo: repo.to_owned(), moved: None, files, manners: Manners::default(), asked: Vec::new() };
        let server = Self { hub: address(&hub), state: Arc::new(Mutex::new(state)) };
        let link = address(&elsewhere);
        for (listener, is_elsewhere) in [(hub, false), (elsewhere, true)] {
            let state = Arc::clone(&server.state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // A client may close the connection; that is not a failure of the server.
                    thread::spawn(move || drop(serve(stream, &state, link, is_elsewhere)));
                }
            });
        }
        server
    }

    /// Returns the address of the hub.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Answers to `name` with a redirect.
    #[must_use]
    pub fn moved_from(self, name: &str) -> Self {
        self.state().moved = Some(name.to_owned());
        self
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn with(self, file: &str, content: &[u8]) -> Self {
        self.state().files.insert(file.to_owned(), content.to_vec());
        self
    }

    /// Removes a file.
    #[must_use]
    pub fn without(self, file: &str) -> Self {
        self.state().files.remove(file).expect("was served");
        self
    }

    /// Returns the content of a file.
    ///
    /// # Panics
    /// If it is not served.
    pub fn file(&self, name: &str) -> Vec<u8> {
        self.state().files.get(name).unwrap_or_else(|| panic!("{name} is not served")).clone()
    }

    /// Selects the faults from now on.
    pub fn behave(&self, manners: Manners) {
        self.state().manners = manners;
    }

    /// Returns the requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Returns the SHA-256 of a content in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>, link: SocketAddr, elsewhere: bool) -> std::io::Result<()> {
    let asked = read(&stream, elsewhere)?;
    let (answer, stall) = {
        let mut state = lock(state);
        let answer = if elsewhere { linked(&state, &asked) } else { resolved(&state, &asked, link) };
        let stall = state.manners.stall.filter(|_| elsewhere);
        state.asked.push(asked);
        (answer, stall)
    };
    stream.write_all(&answer)?;
    if stall.is_some() {
        // Waits until the client closes the connection.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn read(stream: &TcpStream, elsewhere: bool) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method, path, range: None, authorization: None, elsewhere };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => asked.range = Some(value.to_owned()),
            "authorization" => asked.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(asked)
}

/// Returns the hub's answer.
fn resolved(state: &State, asked: &Asked, link: SocketAddr) -> Vec<u8> {
    let manners = &state.manners;
    if let Some((status, code)) = manners.refuse {
        return head(status, &[format!("X-Error-Code: {code}"), "Content-Length: 0".into()]);
    }
    let Some((repo, rest)) = asked.path.trim_start_matches('/').split_once("/resolve/") else {
        return head(404, &["Content-Length: 0".into()]);
    };
    if state.moved.as_deref() == Some(repo) {
        let to = format!("Location: /{}/resolve/{rest}", state.repo);
        return head(307, &[to, "Content-Length: 0".into()]);
    }
    let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
    if repo != state.repo {
        return head(401, &["X-Error-Code: RepoNotFound".into(), "Content-Length: 0".into()]);
    }
    if revision != "main" && revision != COMMIT {
        return head(404, &["X-Error-Code: RevisionNotFound".into(), "Content-Length: 0".into()]);
    }
    let commit = format!("X-Repo-Commit: {}", manners.commit.unwrap_or(COMMIT));
    let Some(content) = state.files.get(file) else {
        return head(404, &[commit, "X-Error-Code: EntryNotFound".into(), "Content-Length: 0".into()]);
    };
    let hash = sha256(content);
    if file.ends_with(".safetensors") {
        let size = manners.claim.unwrap_or(content.len() as u64);
        let location = format!("Location: http://{link}/{file}?signature=x");
        let linked = [format!("X-Linked-Etag: \"{hash}\""), format!("X-Linked-Size: {size}")];
        let rest = [commit, location, "ETag: \"of the redirect\"".into(), "Content-Length: 0".into()];
        return head(302, &[&linked[..], &rest].concat());
    }
    let mut answer = head(200, &[commit, format!("ETag: \"{}\"", &hash[..40]), length(content)]);
    if asked.method == "GET" {
        answer.extend_from_slice(content);
    }
    answer
}

/// Returns the answer of the second address, which has the weights.
fn linked(state: &State, asked: &Asked) -> Vec<u8> {
    let manners = &state.manners;
    let file = asked.path.trim_start_matches('/').split('?').next().unwrap_or_default();
    let Some(whole) = state.files.get(file) else {
        return head(404, &["Content-Length: 0".into()]);
    };
    let mut whole = whole.clone();
    if manners.wrong_byte {
        *whole.last_mut().expect("is not empty") ^= 1;
    }
    let from = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (mut answer, body) = match from.filter(|_| !manners.no_ranges) {
        Some(from) if from >= whole.len() => return head(416, &["Content-Length: 0".into()]),
        Some(from) => {
            let (body, size) = (&whole[from..], whole.len());
            let range = format!("Content-Range: bytes {from}-{}/{size}", size - 1);
            (head(206, &[range, length(body)]), body)
        }
        None if manners.no_length => (head(200, &[]), &whole[..]),
        None => (head(200, &[length(&whole)]), &whole[..]),
    };
    let sent = [manners.cut, manners.stall].into_iter().flatten().min().unwrap_or(body.len()).min(body.len());
    answer.extend_from_slice(&body[..sent]);
    answer
}

fn length(content: &[u8]) -> String {
    format!("Content-Length: {}", content.len())
}

fn head(status: u16, headers: &[String]) -> Vec<u8> {
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("HTTP/1.1 {status} Status\r\n{lines}Connection: close\r\n\r\n").into_bytes()
}
