//! One connector a file: its faults have places, its secrets stay outside.

use std::path::Path;

use super::*;

fn read_as(name: &str, text: &str) -> Result<ConnectorConfig, String> {
    let variable = |name: &str| (name == "WARD").then(|| "pa\"ss\\word".to_owned());
    parse(text, Path::new(name), &variable).map_err(|error| error.to_string())
}

#[test]
fn the_file_gives_the_name_and_the_folder_of_its_paths() {
    let text =
        "kind = \"mllp\"\nlisten = \"127.0.0.1:2575\"\ntls_certificate = \"cert.pem\"\ntls_key = \"/etc/key.pem\"\n";
    let Ok(ConnectorConfig::Mllp(mllp)) = read_as("/etc/connectors.d/ward-3.toml", text) else {
        panic!("an MLLP listener")
    };
    assert_eq!((mllp.name.as_str(), mllp.connections_max), ("ward-3", 64));
    assert_eq!(mllp.tls_certificate.as_deref(), Some(Path::new("/etc/connectors.d/cert.pem")));
    assert_eq!(mllp.tls_key.as_deref(), Some(Path::new("/etc/key.pem")));
    let named = read_as("/etc/a.toml", &format!("name = \"b\"\n{text}")).expect("good");
    assert_eq!((named.name(), named.kind()), ("b", "mllp"));
}

#[test]
fn a_bridge_has_two_sides_and_the_name_of_its_file() {
    let text = "kind = \"bridge\"\n[mllp]\nlisten = \"127.0.0.1:2575\"\n[amqp]\nurl_file = \"broker.url\"\nrouting_key = \"ward\"\n";
    let Ok(ConnectorConfig::Bridge(bridge)) = read_as("/etc/ward-3.toml", text) else { panic!("a bridge") };
    assert_eq!((bridge.name.as_str(), bridge.amqp.exchange.as_str()), ("ward-3", "hospital.events"));
    assert_eq!(bridge.amqp.url_file.as_deref(), Some(Path::new("/etc/broker.url")));
    let error = read_as("ward-3.toml", &text.replace("routing_key", "routing")).expect_err("refused");
    assert!(error.starts_with("ward-3.toml:6:1: found unknown key `routing`"), "{error}");
}

#[test]
fn values_from_outside_are_put_in_and_never_repeated() {
    let text = "# ${NOTHING} in a comment\nkind = \"amqp\"\nurl = \"amqp://user:${WARD}@127.0.0.1\"\n";
    let Ok(ConnectorConfig::Amqp(amqp)) = read_as("/etc/lab.toml", text) else { panic!("an AMQP source") };
    assert_eq!(amqp.url.as_deref(), Some("amqp://user:pa\"ss\\word@127.0.0.1"));
    for broken in ["prefetch = \"${WARD}\"\n", "exchange = [\"${WARD}\"]\n", "bindings = \"a${WARD}\"\n"] {
        let error = read_as("/etc/lab.toml", &format!("{text}{broken}")).expect_err("refused");
        assert!(error.starts_with("/etc/lab.toml:4:") && !error.contains("word"), "{error}");
    }
}

#[test]
fn a_wrong_file_touches_no_other_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let mllp = |port: u16| format!("kind = \"mllp\"\nlisten = \"127.0.0.1:{port}\"\n");
    write("gateway.toml", crate::config::tests::GOOD);
    std::fs::create_dir(folder.path().join(FOLDER)).expect("made");
    let connector = |name: &str, text: &str| write(&format!("{FOLDER}/{name}.toml"), text);
    connector("a", &mllp(2575));
    connector("b", "# listen where nobody is\nkind = \"mllp\"\nlisten = \"0.0.0.0:2576\"\n");
    connector("c", &format!("name = \"a\"\n{}", mllp(2577)));
    connector("d", &mllp(2575));
    connector("e", &format!("\u{feff}{}", mllp(2578)));
    connector("f", &format!("{}[hl7v2]\nzone = \"Mars/Phobos\"\n", mllp(2579)));
    let config =
        crate::config::Config::load(&folder.path().join("gateway.toml")).expect("the gateway's own file is good");
    let names: Vec<_> = config.connectors.iter().map(ConnectorConfig::name).collect();
    assert_eq!(names, ["ehr", "a", "e"]);
    let faults: Vec<_> = config.faults.iter().map(ToString::to_string).collect();
    let begin = |at: usize, place: &str, text: &str| {
        let fault = &faults[at];
        assert!(fault.contains(place) && fault.contains(text), "{fault}");
    };
    begin(0, "b.toml:3:1: ", "no TLS");
    begin(1, "c.toml:1:1: ", "found `a`, which another connector has");
    begin(2, "d.toml:2:1: ", "found the address of `a`");
    begin(3, "f.toml:4:1: ", "expected an offset such as `+01:00` or an IANA name");
    assert_eq!(faults.len(), 4);
    // a folder that is none must not look like an empty one
    let none = folder.path().join("gateway.toml");
    assert!(matches!(&read_folder(&none)[..], [(_, Err(fault))] if fault.to_string().contains("no readable folder")));
    assert!(read_folder(&folder.path().join("missing")).is_empty());
}

#[test]
fn faults_have_places_and_the_nearest_name() {
    let good = "kind = \"mllp\"\nlisten = \"127.0.0.1:2575\"\n";
    let table = [
        (
            "listen = \"127.0.0.1:2575\"\n".to_owned(),
            "a.toml:1:1: found no `kind`",
            "expected kind = \"amqp\" or \"mllp\"",
        ),
        (good.replace("\"mllp\"", "\"mlpp\""), "a.toml:1:1: found the kind `mlpp`", "did you mean `mllp`?"),
        (
            format!("{good}conections_max = 3\n"),
            "a.toml:3:1: found unknown key `conections_max`",
            "did you mean `connections_max`?",
        ),
        (format!("{good}connections_max = \"3\"\n"), "a.toml:3:19: ", "expected usize"),
        (format!("{good}connections_max = 0\n"), "a.toml:3:1: connections_max: found 0", "expected 1 to 1024"),
        (good.replace("2575", ""), "a.toml:2:10: ", "socket address"),
        (
            good.replace("127.0.0.1:2575", "${ADDRESS}"),
            "a.toml:2:11: found `${ADDRESS}`, which is not set",
            "environment",
        ),
        (good.replace("127.0.0.1:2575", "${file:gone}"), "a.toml:2:11: found `${file:gone}`", "cannot be read"),
        (good.replace("127.0.0.1:2575", "${ADDRESS"), "a.toml:2:11: found `${` without `}`", "${NAME}"),
        (format!("{good}[broken"), "a.toml:3:", "expected"),
    ];
    for (text, begin, end) in table {
        let error = read_as("a.toml", &text).expect_err(&text);
        assert!(error.contains(begin) && error.contains(end), "{text}: {error}");
    }
}

#[test]
fn a_folder_is_read_in_order_and_a_bad_file_hides_no_other() {
    let folder = std::env::temp_dir().join(format!("chartseal-connectors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("b.toml"), "kind = \"mllp\"\nlisten = \"127.0.0.1:2575\"\n").expect("written");
    std::fs::write(folder.join("a.toml"), "kind = \"x\"\n").expect("written");
    std::fs::write(folder.join("notes.txt"), "not a connector").expect("written");
    let read = read_folder(&folder);
    assert!(matches!(&read[..], [(_, Err(_)), (_, Ok(good))] if good.name() == "b"));
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(read_folder(&folder).is_empty());
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/config/connector.schema.json");
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found != schema() && std::env::var_os("CHARTSEAL_UPDATE").is_some() {
        std::fs::write(&file, schema()).expect("written");
    }
    assert!(found == schema(), "{}: found another schema; CHARTSEAL_UPDATE=1 writes it", file.display());
}
