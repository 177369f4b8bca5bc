//! `sign sigstore`: where the identity comes from, and what is said of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use testkit::{
    Ended, Missing, capture_within,
    faults::{Fault, FaultServer},
    http::{Request, Response, Server},
    or_skip,
    sigstore::{Role, Sigstore, shared},
    skip_or_fail,
};

use crate::world::{LIMIT, World};

const EMAIL: &str = "dev@example.com";

/// A folder with a model, the instance's files and a token.
fn world(sigstore: &Sigstore) -> World {
    let world = World::new();
    for (name, file) in [
        ("trust.json", sigstore.trust_config()),
        ("root.json", sigstore.trusted_root()),
        ("services.json", sigstore.signing_config_v1()),
    ] {
        world.write(name, fs::read(file).unwrap());
    }
    world.write("token", sigstore.token(EMAIL) + "\n");
    world
}

/// Runs `weightseal sign m` with these arguments, variables and input.
fn sign(world: &World, args: &[&str], variables: &[(&str, &str)], input: &str) -> Ended {
    let mut command = world.command(env!("CARGO_BIN_EXE_weightseal"));
    command
        .args(["sign", "m"])
        .args(args)
        .envs(variables.iter().copied())
        .env("NO_PROXY", "127.0.0.1,localhost");
    capture_within(&mut command, input.as_bytes(), LIMIT).unwrap()
}

#[track_caller]
fn signed(world: &World, ended: Ended, identity: &str) {
    let ended = ended.expect_code(0);
    assert!(ended.out().contains(identity) && ended.out().contains("log entry: "), "{ended}");
    let bundle: Value = serde_json::from_slice(&fs::read(world.path("m/model.sig")).unwrap()).unwrap();
    assert!(bundle["verificationMaterial"]["certificate"]["rawBytes"].is_string());
    // The line that it says is one that works, and only for who signed.
    let said = ended.out();
    let line = said.lines().last().unwrap().trim();
    assert!(line.starts_with("weightseal verify sigstore m --identity "), "{ended}");
    world.shell(line).expect_code(0);
    world.shell(&line.replace(identity, "somebody@example.com")).expect_code(1);
    fs::remove_file(world.path("m/model.sig")).unwrap();
}

#[test]
fn a_token_signs_wherever_it_is_given() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let token = sigstore.token(EMAIL);
    let trust = ["--trust-config", "trust.json"];
    let files = ["--trusted-root", "root.json", "--signing-config", "services.json"];
    let with = |instance: &[&str], more: &[&str], variables: &[(&str, &str)]| {
        sign(&world, &[instance, more].concat(), variables, "")
    };
    signed(&world, with(&trust, &["--identity-token-file", "token"], &[]), EMAIL);
    signed(&world, with(&files, &["--identity-token-file", "token"], &[]), EMAIL);
    signed(&world, with(&trust, &[], &[("SIGSTORE_ID_TOKEN", &token)]), EMAIL);
    let ended = with(&trust, &["--identity_token", &token], &[]);
    assert!(ended.err().contains("shows the token to everybody") && !ended.err().contains(&token), "{ended}");
    signed(&world, ended, EMAIL);
    // GitLab has it in the same variable.
    let gitlab = [("GITLAB_CI", "true"), ("SIGSTORE_ID_TOKEN", token.as_str())];
    signed(&world, with(&trust, &["--use-ambient-credentials"], &gitlab), EMAIL);
}

#[test]
fn what_was_signed_is_told_with_the_line_to_verify_it() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let args = ["--trust-config", "trust.json", "--identity-token-file", "token", "--format", "json"];
    let ended = sign(&world, &args, &[], "").expect_code(0);
    let said: Value = serde_json::from_str(&ended.out()).unwrap();
    assert_eq!(said["signing_method"], "sigstore");
    assert_eq!(said["identity"]["identity"], EMAIL, "{said}");
    assert_eq!(said["identity"]["issuer"], sigstore.issuer());
    assert_eq!(said["log_indexes"].as_array().unwrap().len(), 1);
    let line = format!(
        "weightseal verify sigstore m --identity {EMAIL} --identity-provider {} --trust-config trust.json",
        sigstore.issuer()
    );
    assert_eq!(said["verify"], line);
}

#[test]
fn the_job_signs_as_itself() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let github = |code: u16, body: Value| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        FaultServer::start(Fault::Status { code, headers, body: body.to_string() }, "")
    };
    let run = |server: &FaultServer, more: &[&str]| {
        let url = format!("{}/token?api-version=2.0", server.url());
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-secret"),
        ];
        sign(&world, &[&["--trust-config", "trust.json", "--github", "off"], more].concat(), &variables, "")
    };
    let good = github(200, json!({"value": sigstore.token(EMAIL)}));
    signed(&world, run(&good, &[]), EMAIL);
    assert!(good.seen().iter().all(|request| request.path.contains("audience=sigstore")));
    let refusing = github(403, json!({}));
    for more in [&[][..], &["--use-ambient-credentials"]] {
        let ended = run(&refusing, more).expect_code(3);
        assert!(ended.err().contains("answered 403 ") && ended.err().contains("id-token: write"), "{ended}");
        assert!(!ended.err().contains("bearer-secret") && !ended.err().contains("api-version"), "{ended}");
    }
    // No more is taken than a token is long, and nobody else is sent to.
    let target = FaultServer::start(Fault::Pass, "");
    let redirect = Fault::Redirect { code: 307, to: target.url().to_owned() };
    for (fault, words) in [
        (Fault::huge(), "answered with more than"),
        (redirect, "redirect"),
        (Fault::Garbage, "there is no token in it"),
        (
            Fault::Status { code: 200, headers: Vec::new(), body: "{\"value\":7}".to_owned() },
            "there is no token in it",
        ),
    ] {
        let ended = run(&FaultServer::start(fault, ""), &[]).expect_code(3);
        assert!(ended.err().contains(words) && ended.err().contains("id-token: write"), "{ended}");
        assert!(!ended.err().contains("bearer-secret") && !ended.err().contains("api-version"), "{ended}");
    }
    assert_eq!(target.requests(), 0);
    // One that is only busy for a moment is asked again.
    let upstream = github(200, json!({"value": sigstore.token(EMAIL)}));
    let busy =
        FaultServer::start(Fault::FailsFirst { times: 2, code: 503, retry_after: None }, upstream.url());
    signed(&world, run(&busy, &[]), EMAIL);
    // A flag goes before the job.
    signed(&world, run(&refusing, &["--identity-token-file", "token"]), EMAIL);
    assert!(!world.path("m/model.sig").exists());
}

#[test]
fn a_person_signs_in_by_a_code() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let token = sigstore.token(EMAIL);
    let provider = Server::start(move |stream| {
        let Ok(Some(request)) = Request::read(stream) else { return };
        let base = format!("http://{}", request.header("host").unwrap());
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let authorized = request.header("authorization").is_some_and(|value| value.starts_with("Basic "));
        let answer = match request.path.as_str() {
            "/.well-known/openid-configuration" => json!({
                "issuer": base,
                "authorization_endpoint": format!("{base}/auth"),
                "token_endpoint": format!("{base}/token"),
            }),
            "/token" if body.contains("code=the-code") && body.contains("client_id=mine") && authorized => {
                json!({"id_token": token, "access_token": "none", "token_type": "Bearer"})
            }
            _ => Value::Null,
        };
        let status = if answer.is_null() { 400 } else { 200 };
        Response::new(status, "application/json", answer.to_string()).write(stream).unwrap();
    })
    .unwrap();
    let url = format!("http://127.0.0.1:{}", provider.port());
    let config = sigstore.trust_config_with(|config| {
        config["signingConfig"]["oidcUrls"] = json!([{"url": url, "majorApiVersion": 1, "operator": "o",
            "validFor": {"start": "2020-01-01T00:00:00Z"}}]);
    });
    world.write("signin.json", fs::read(config).unwrap());
    let args = [
        "--trust-config",
        "signin.json",
        "--oauth-force-oob",
        "--client-id",
        "mine",
        "--client-secret",
        "hidden",
    ];
    let ended = sign(&world, &args, &[], "the-code\n");
    assert!(ended.err().contains(&format!("{url}/auth?")) && !ended.err().contains("hidden"), "{ended}");
    signed(&world, ended, EMAIL);
    let ended = sign(&world, &args, &[], "another\n").expect_code(3);
    assert!(ended.err().contains("gave no identity token") && ended.err().contains("400"), "{ended}");
    assert!(!world.path("m/model.sig").exists());
}

#[test]
fn nothing_is_written_where_a_service_fails() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let (server, config) = sigstore.faulty(Role::Tsa, Fault::forbidden("closed"));
    let before = world.listing();
    let config: &Path = &config;
    let args = [
        "--trusted-root",
        "root.json",
        "--signing-config",
        config.to_str().unwrap(),
        "--identity-token-file",
        "token",
    ];
    let ended = sign(&world, &args, &[], "").expect_code(3);
    assert!(
        ended.err().contains("answered 403 Forbidden: closed") && ended.err().contains(server.url()),
        "{ended}"
    );
    assert_eq!(world.listing(), before);
}

/// A certificate for this machine, of an authority of its own.
const CERTIFICATES: &str = "set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout tls-ca.key -out tls-ca.pem -days 2 -subj /CN=TestAuthority
openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=localhost
printf 'subjectAltName=IP:127.0.0.1\n' > tls.ext
openssl x509 -req -in tls.csr -CA tls-ca.pem -CAkey tls-ca.key -CAcreateserial -out tls.pem -days 2 -extfile tls.ext";

/// Passes requests on to the server that it is given, and speaks TLS itself.
const TLS: &str = "
import http.server, ssl, sys, urllib.request
class Passing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0))) or None
        asked = urllib.request.Request(sys.argv[1] + self.path, body, {'Content-Type': 'application/json'})
        with urllib.request.urlopen(asked) as answer:
            said = answer.read()
        self.send_response(200)
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    do_POST = do_GET
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Passing)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('tls.pem', 'tls.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

#[test]
fn a_private_authority_for_tls_is_trusted_where_it_is_given() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let world = world(sigstore);
    let made = world.shell(CERTIFICATES);
    if made.code() != Some(0) {
        return skip_or_fail(Missing::new("openssl", made.err()));
    }
    let mut python = world.command("python3");
    python.args(["-c", TLS, sigstore.fulcio_url()]).stdout(Stdio::piped());
    let mut server = match python.spawn() {
        Ok(server) => server,
        Err(error) => return skip_or_fail(Missing::new("python3", error.to_string())),
    };
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let config = sigstore.signing_config_at(Role::Fulcio, &format!("https://127.0.0.1:{}", port.trim()));
    world.write("tls.json", fs::read(config).unwrap());
    let args =
        ["--trusted-root", "root.json", "--signing-config", "tls.json", "--identity-token-file", "token"];
    let without = sign(&world, &args, &[], "");
    let with = sign(&world, &[&args[..], &["--tls-ca", "tls-ca.pem"]].concat(), &[], "");
    server.kill().unwrap();
    server.wait().unwrap();
    let without = without.expect_code(3);
    assert!(without.err().contains("UnknownIssuer") && without.err().contains("--tls-ca FILE"), "{without}");
    signed(&world, with, EMAIL);
}

#[test]
fn a_call_that_cannot_be_right_is_misuse() {
    let world = World::new();
    world.write("token", "none");
    let token = format!("e30.{}.c2ln", "eyJpc3MiOiJpIiwic3ViIjoicyIsImV4cCI6OTk5OTk5OTk5OX0");
    for (args, says) in [
        (&[][..], "no identity token is given"),
        (&["--use-ambient-credentials"], "no job of a service"),
        (&["--identity-token-file", "token"], "the identity token has 1 parts"),
        (&["--identity-token-file", "none"], "cannot read the identity token none"),
        (&["--identity-token-file", "token", "--use-ambient-credentials"], "cannot be given together"),
        (&["--identity-token", "x", "--oauth-force-oob"], "cannot be given together"),
        (&["--identity-token", "x", "--client-secret", "y"], "cannot be given together"),
        (&["--client-secret", "y"], "--client-secret is given without --client-id"),
        (&["--use-staging", "--trust-config", "x"], "cannot be given together"),
        (&["--trust-config", "x", "--trusted-root", "y"], "cannot be given together"),
        (&["--trusted-root", "y"], "--trusted-root is given without --signing-config"),
        (&["--signing-config", "y"], "--signing-config is given without --trusted-root"),
        (
            &["--trust-config", "none", "--identity-token", &token],
            "cannot read the signing configuration none",
        ),
        (&["--rekor-version", "3"], "invalid value"),
        (&["--tls-ca", "token"], "the root certificates for TLS cannot be used"),
        (&["--private-key", "release.key", "--trusted-root", "x"], "belong to different signing methods"),
    ] {
        let ended = sign(&world, args, &[], "").expect_code(2);
        assert!(ended.err().contains(says), "{args:?}: {ended}");
    }
    let ended = sign(&world, &[], &[("SIGSTORE_ID_TOKEN", "secret-text")], "").expect_code(2);
    assert!(ended.err().contains("SIGSTORE_ID_TOKEN: ") && !ended.err().contains("secret-text"), "{ended}");
    assert!(!world.path("m/model.sig").exists());
}
