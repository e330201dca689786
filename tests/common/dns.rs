//! A DNS server on loopback that knows one domain, corp.example: one controller, dc1, whose port is told it. By UDP, and by TCP what is too long
//! for that.

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What fits a datagram that is not cut on its way, as resolvers announce it.
const DATAGRAM: usize = 1232;

/// What it answers to a question for `_ldap._tcp.corp.example`.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// Nothing: whoever asks waits.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// These ports and hosts.
    Controllers(Vec<(u16, String)>),
}

/// The server. It ends when it is dropped.
pub(crate) struct Dns {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<Says>>,
    task: JoinHandle<()>,
}

/// One controller.
pub(crate) fn controller(port: u16, host: &str) -> Says {
    Says::Controllers(vec![(port, host.to_owned())])
}

impl Dns {
    /// Starts one.
    pub(crate) async fn start(says: Says) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The port may be taken for TCP.
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let (by_udp, by_tcp) = (answer(socket, Arc::clone(&says)), answer_by_tcp(listener, Arc::clone(&says)));
        let task = tokio::spawn(async move { tokio::join!(by_udp, by_tcp).0 });
        Self { address, says, task }
    }

    /// From now on it answers that.
    pub(crate) fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(socket: UdpSocket, says: Arc<Mutex<Says>>) {
    let mut datagram = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
        let says = says.lock().unwrap().clone();
        if let Some(response) = response(datagram.get(..length).unwrap(), says) {
            let whole = response.to_vec().unwrap();
            let datagram = if whole.len() > DATAGRAM { response.truncate().to_vec().unwrap() } else { whole };
            socket.send_to(&datagram, from).await.unwrap();
        }
    }
}

/// Each message has its length before it (RFC 1035 section 4.2.2).
async fn answer_by_tcp(listener: TcpListener, says: Arc<Mutex<Says>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            let says = says.lock().unwrap().clone();
            if let Some(response) = response(&question, says) {
                let response = response.to_vec().unwrap();
                stream.write_u16(response.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&response).await.unwrap();
            }
        }
    }
}

fn response(question: &[u8], says: Says) -> Option<Message> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries.first().unwrap();
    let mut response = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    response.metadata.recursion_desired = true;
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    let name = query.name().to_ascii().to_ascii_lowercase();
    match (query.query_type(), says) {
        (_, Says::Nothing) => return None,
        (RecordType::SRV, Says::Controllers(controllers)) if name == "_ldap._tcp.corp.example." => {
            for (port, host) in controllers {
                let target = Name::from_ascii(host).unwrap();
                response.add_answer(Record::from_rdata(query.name().clone(), 0, RData::SRV(SRV::new(0, 100, port, target))));
            }
        }
        (RecordType::A, _) if name == "dc1.corp.example." => {
            response.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(Ipv4Addr::LOCALHOST))));
        }
        (RecordType::AAAA, _) if name == "dc1.corp.example." => {}
        _ => response.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(response)
}
