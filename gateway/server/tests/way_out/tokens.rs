//! Token requests that must fail, each for one reason, beside the one that must not; replay across restarts; expiry;
//! introspection. Every failure of an assertion is the same answer.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_server::smart::assertion::{self, AssertionError};
use gateway_server::smart::{Clients, Tokens};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::world::{World, client_key, key_set, worlds};

fn es384(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::ES384);
    header.kid = Some(kid.to_owned());
    header
}

fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

/// Every way to get an assertion wrong that the rules name.
fn negatives(world: &World) -> Vec<(&'static str, String)> {
    let now = world.now() / 1000;
    let with = |name: &str, value: Value| {
        let mut claims = world.claims("clinic");
        claims[name] = value;
        world.assertion(&claims)
    };
    let without = |name: &str| {
        let mut claims = world.claims("clinic");
        claims.as_object_mut().expect("claims").remove(name);
        world.assertion(&claims)
    };
    let headed = |change: fn(&mut Header)| {
        let mut header = es384("k1");
        change(&mut header);
        jsonwebtoken::encode(&header, &world.claims("clinic"), &world.key).expect("a jwt")
    };
    let good = world.assertion(&world.claims("clinic"));
    let (other, _) = client_key();
    let parts: Vec<&str> = good.split('.').collect();
    let mut flipped = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
    flipped[5] ^= 1;
    let hs = |algorithm| {
        let mut header = Header::new(algorithm);
        header.kid = Some("k1".to_owned());
        jsonwebtoken::encode(&header, &world.claims("clinic"), &EncodingKey::from_secret(b"k1")).expect("a jwt")
    };
    vec![
        ("empty", String::new()),
        ("one part", "abc".into()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("not base64", format!("!.{}.{}", parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("flipped signature", format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(flipped))),
        ("another key", jsonwebtoken::encode(&es384("k1"), &world.claims("clinic"), &other).expect("a jwt")),
        ("alg none", raw(&json!({ "alg": "none", "typ": "JWT", "kid": "k1" }), &world.claims("clinic"), b"")),
        ("alg HS256", hs(Algorithm::HS256)),
        ("alg HS384", hs(Algorithm::HS384)),
        (
            "alg ES256 named",
            raw(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }), &world.claims("clinic"), &[1; 64]),
        ),
        (
            "alg RS384 over an EC key",
            raw(&json!({ "alg": "RS384", "typ": "JWT", "kid": "k1" }), &world.claims("clinic"), &[1; 256]),
        ),
        ("no typ", headed(|h| h.typ = None)),
        ("typ at+jwt", headed(|h| h.typ = Some("at+jwt".into()))),
        ("no kid", headed(|h| h.kid = None)),
        ("unknown kid", headed(|h| h.kid = Some("k2".into()))),
        ("crit", headed(|h| h.crit = Some(vec!["exp".into()]))),
        ("empty crit", headed(|h| h.crit = Some(Vec::new()))),
        ("b64", headed(|h| h.extras.insert("b64", false))),
        ("jku", headed(|h| h.jku = Some("https://evil/jwks".into()))),
        ("x5u", headed(|h| h.x5u = Some("https://evil/x5u".into()))),
        ("x5c", headed(|h| h.x5c = Some(vec!["AAAA".into()]))),
        ("unknown client", {
            let claims = world.claims("nobody");
            world.assertion(&claims)
        }),
        ("iss other than sub", with("sub", json!("lab"))),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
        ("no aud", without("aud")),
        ("no exp", without("exp")),
        ("no jti", without("jti")),
        ("empty jti", with("jti", json!(""))),
        ("long jti", with("jti", json!("j".repeat(257)))),
        ("number jti", with("jti", json!(7))),
        ("aud of another server", with("aud", json!("https://other/oauth/token"))),
        ("aud that is a prefix", with("aud", json!("http://127.0.0.1:8443/oauth/token/x"))),
        ("aud that is the issuer", with("aud", json!("http://127.0.0.1:8443"))),
        ("exp passed", with("exp", json!(now - 60))),
        ("exp too far ahead", with("exp", json!(now + 3600))),
        ("exp as text", with("exp", json!((now + 60).to_string()))),
        ("exp huge", with("exp", json!(u64::MAX))),
        ("exp negative", with("exp", json!(-1))),
        ("nbf ahead", with("nbf", json!(now + 60))),
        ("nbf as text", with("nbf", json!("0"))),
        ("iat ahead", with("iat", json!(now + 600))),
        ("iss as list", with("iss", json!(["clinic"]))),
        ("too long", with("padding", json!("p".repeat(9000)))),
    ]
}

#[tokio::test]
async fn every_wrong_assertion_is_one_answer() {
    let world = World::new().await;
    let all = negatives(&world);
    assert!(all.len() >= 30);
    for (what, jwt) in all {
        let (status, body) = world.token_with(&jwt, "system/*.rs").await;
        assert_eq!((status, &body), (StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_client" })), "{what}");
    }
    let good = world.assertion(&world.claims("clinic"));
    let (status, body) = world.token_with(&good, "system/*.rs").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["expires_in"], json!(300));
    let listed = {
        let mut claims = world.claims("clinic");
        claims["aud"] = json!(["https://other", claims["aud"]]);
        world.assertion(&claims)
    };
    assert_eq!(world.token_with(&listed, "system/*.rs").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_form_is_judged_before_the_assertion() {
    let world = World::new().await;
    let jwt = world.assertion(&world.claims("clinic"));
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "system/*.rs"),
        ("client_assertion_type", kind),
        ("client_assertion", jwt.as_str()),
    ];
    let changed = |at: usize, value: &'static str| {
        let mut form = form;
        form[at].1 = value;
        form.to_vec()
    };
    let mut twice = form.to_vec();
    twice.push(("scope", "system/*.rs"));
    for (form, status, error) in [
        (changed(0, "authorization_code"), 400, "unsupported_grant_type"),
        (form[1..].to_vec(), 400, "invalid_request"),
        (twice, 400, "invalid_request"),
        (changed(2, "urn:other"), 401, "invalid_client"),
        (form[..3].to_vec(), 401, "invalid_client"),
    ] {
        let (found, body) = world.post_form("/oauth/token", &form).await;
        assert_eq!((found.as_u16(), &body["error"]), (status, &json!(error)));
    }
    for scope in ["", "patient/*.rs", "system/*.dus", "launch", "system/*.cud", "openid fhirUser"] {
        let jwt = world.assertion(&world.claims("clinic"));
        let (status, body) = world.token_with(&jwt, scope).await;
        assert_eq!((status.as_u16(), &body["error"]), (400, &json!("invalid_scope")), "{scope}");
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_even_after_a_restart() {
    for world in worlds().await {
        let jwt = world.assertion(&world.claims("clinic"));
        assert_eq!(world.token_with(&jwt, "system/*.rs").await.0, StatusCode::OK);
        assert_eq!(world.token_with(&jwt, "system/*.rs").await.1, json!({ "error": "invalid_client" }));
        // as a new process would: nothing in memory, the same database
        let (key, jwks) = client_key();
        let config = gateway_server::config::ClientConfig {
            id: "clinic".into(),
            name: "clinic".into(),
            jwks: Some(jwks),
            jwks_file: None,
            scopes: vec!["system/*.rs".into()],
            assigns: Vec::new(),
            references: Vec::new(),
            roles: Vec::new(),
            purposes: Vec::new(),
        };
        let clients = Clients::load(&[config], "").expect("clients");
        let claims = world.claims("clinic");
        let jwt = jsonwebtoken::encode(&es384("k1"), &claims, &key).expect("a jwt");
        let audience = claims["aud"].as_str().expect("aud");
        let scopes = gateway_server::smart::Scopes::parse("system/*.rs").expect("scopes");
        let first = Tokens::new(world.store.clone(), clients.clone());
        let asserted = assertion::verify(&clients, &jwt, audience, world.now()).expect("valid");
        let issued = first.issue(asserted, scopes.clone(), world.now()).await.expect("issued");
        let second = Tokens::new(world.store.clone(), clients.clone());
        let again = assertion::verify(&clients, &jwt, audience, world.now()).expect("valid by itself");
        assert!(second.issue(again, scopes, world.now()).await.is_err());
        assert!(second.find(&issued.token, world.now()).await.expect("found").is_some(), "a token outlives a restart");
        assert!(second.find(&issued.token, world.now() + 300_000).await.expect("found").is_none(), "but not its time");
    }
}

#[tokio::test]
async fn tokens_expire_and_others_are_none() {
    let world = World::new().await;
    let token = world.token("clinic", "system/*.rs").await;
    let unknown = StatusCode::NOT_FOUND;
    assert_eq!(world.get(&token, "Observation/1").await.0, unknown);
    for wrong in ["", "x", &token[1..], &format!("{token}A"), &"a".repeat(5000)] {
        assert_eq!(world.get(wrong, "Observation/1").await.0, StatusCode::UNAUTHORIZED);
    }
    world.now.fetch_add(300_001, Ordering::SeqCst);
    let (status, body) = world.get(&token, "Observation/1").await;
    assert_eq!((status, &body["issue"][0]["code"]), (StatusCode::UNAUTHORIZED, &json!("login")));
}

#[tokio::test]
async fn introspection_tells_a_client_of_its_own_tokens_only() {
    let world = World::new().await;
    let (clinic, lab) = (world.token("clinic", "system/*.rs").await, world.token("lab", "system/*.cruds").await);
    let ask = async |caller: &str, token: &str| {
        let request = axum::http::Request::post("/oauth/introspect")
            .header("authorization", format!("Bearer {caller}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(format!("token={token}")))
            .expect("a request");
        let (status, _, body) = world.send(request).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let (_, own) = ask(&clinic, &clinic).await;
    assert_eq!(
        (&own["active"], &own["client_id"], &own["scope"]),
        (&json!(true), &json!("clinic"), &json!("system/*.rs"))
    );
    assert_eq!(ask(&clinic, &lab).await.1, json!({ "active": false }));
    assert_eq!(ask(&clinic, "unknown").await.1, json!({ "active": false }));
    assert_eq!(ask("nobody", &clinic).await.0, StatusCode::UNAUTHORIZED);
    let (_, narrowed) = ask(&lab, &lab).await;
    assert_eq!(narrowed["scope"], json!("system/Observation.rs?category=laboratory"));
}

#[test]
fn rs384_is_accepted_and_doubled_key_ids_are_not() {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA384, rcgen::RsaKeySize::_2048).expect("a key");
    let rsa = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let config = |jwks: String| gateway_server::config::ClientConfig {
        id: "c".into(),
        name: "c".into(),
        jwks: Some(jwks),
        jwks_file: None,
        scopes: vec!["system/*.rs".into()],
        assigns: Vec::new(),
        references: Vec::new(),
        roles: Vec::new(),
        purposes: Vec::new(),
    };
    let set = key_set(&rsa, Algorithm::RS384, "r");
    let clients = Clients::load(&[config(set.clone())], "").expect("clients");
    let claims = json!({ "iss": "c", "sub": "c", "aud": "a", "exp": 1_100, "jti": "1" });
    let mut header = Header::new(Algorithm::RS384);
    header.kid = Some("r".into());
    let jwt = jsonwebtoken::encode(&header, &claims, &rsa).expect("a jwt");
    assert!(assertion::verify(&clients, &jwt, "a", 1_000_000).is_ok());

    let mut doubled: Value = serde_json::from_str(&set).expect("json");
    let same = doubled["keys"][0].clone();
    doubled["keys"].as_array_mut().expect("keys").push(same);
    let clients = Clients::load(&[config(doubled.to_string())], "").expect("clients");
    assert_eq!(assertion::verify(&clients, &jwt, "a", 1_000_000).err(), Some(AssertionError::Unknown));

    let p256 = rcgen::KeyPair::generate().expect("a key");
    let p256 = EncodingKey::from_ec_pem(p256.serialize_pem().as_bytes()).expect("a key");
    let weak = key_set(&p256, Algorithm::ES256, "k");
    assert!(Clients::load(&[config(weak)], "").is_err(), "P-256 is not among SMART's algorithms");
}
