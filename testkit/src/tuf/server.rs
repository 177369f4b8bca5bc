//! Serves a folder over HTTP on 127.0.0.1, and breaks the rules where it is told to.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What a server does instead of sending the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Another status, without the file.
    Status(u16),
    /// A redirect to a URL.
    Redirect(String),
    /// Zeros without an end, or up to so many bytes.
    Endless(u64),
    /// The promise of the file, and the connection cut after half of it.
    Cut,
    /// Nothing, for so long.
    Silent(Duration),
    /// These bytes.
    Other(Vec<u8>),
}

/// A folder served over HTTP until the value is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    over: AtomicBool,
    folder: Mutex<PathBuf>,
    wrong: Mutex<HashMap<String, Misbehaviour>>,
    asked: Mutex<Vec<String>>,
}

impl Server {
    /// Serves a folder at a free port.
    ///
    /// # Errors
    /// There is no port to be had.
    pub fn start(folder: impl Into<PathBuf>) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            folder: Mutex::new(folder.into()),
            wrong: Mutex::default(),
            asked: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ours.over.load(Ordering::SeqCst) {
                    return;
                }
                let ours = Arc::clone(&ours);
                // A client that has gone is no failure of the server.
                thread::spawn(move || drop(ours.answer(stream)));
            }
        });
        Ok(Server { address, shared, thread: Some(thread) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves another folder from now on.
    pub fn serve(&self, folder: impl Into<PathBuf>) {
        *lock(&self.shared.folder) = folder.into();
    }

    /// Misbehaves when this file is asked for, which is named from the top of the folder.
    pub fn misbehave(&self, file: &str, how: Misbehaviour) {
        lock(&self.shared.wrong).insert(file.to_owned(), how);
    }

    /// Behaves again.
    pub fn behave(&self) {
        lock(&self.shared.wrong).clear();
    }

    /// The files that were asked for since the last call, in order.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.asked))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // The listener looks at the switch when somebody comes.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let name = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        while reader.read_line(&mut line)? > 2 {}
        lock(&self.asked).push(name.clone());
        let wrong = lock(&self.wrong).get(&name).cloned();
        let file = fs::read(lock(&self.folder).join(&name));
        match (wrong, file) {
            (None, Ok(bytes)) | (Some(Misbehaviour::Other(bytes)), _) => {
                head(&mut stream, 200, &format!("Content-Length: {}\r\n", bytes.len()))?;
                stream.write_all(&bytes)?;
            }
            (None, Err(_)) => head(&mut stream, 404, "Content-Length: 0\r\n")?,
            (Some(Misbehaviour::Status(status)), _) => head(&mut stream, status, "Content-Length: 0\r\n")?,
            (Some(Misbehaviour::Redirect(url)), _) => {
                head(&mut stream, 302, &format!("Location: {url}\r\nContent-Length: 0\r\n"))?;
            }
            (Some(Misbehaviour::Endless(bytes)), _) => {
                head(&mut stream, 200, "")?;
                let zeros = [b'0'; 1 << 16];
                for _ in 0..bytes / zeros.len() as u64 {
                    stream.write_all(&zeros)?;
                }
            }
            (Some(Misbehaviour::Cut), file) => {
                let bytes = file.unwrap_or_default();
                head(&mut stream, 200, &format!("Content-Length: {}\r\n", bytes.len()))?;
                stream.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            }
            (Some(Misbehaviour::Silent(how_long)), _) => {
                let begun = Instant::now();
                while begun.elapsed() < how_long && !self.over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        stream.flush()?;
        stream.shutdown(Shutdown::Write)
    }
}

fn head(stream: &mut TcpStream, status: u16, fields: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status} OK\r\n{fields}Connection: close\r\n\r\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
