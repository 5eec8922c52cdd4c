//! An opened claim for people: the code, and lines to paste on the device (`docs/MQTT.md`).

use hearthkey_api::ClaimOpened;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// The claim with everything that a person needs to use it, and a QR code if asked for.
pub fn text(opened: &ClaimOpened, qr: bool) -> String {
    let ClaimOpened {
        claim,
        device,
        profile,
        environment,
        expires_at,
        uri,
        root_sha256,
        ..
    } = opened;
    let qr = match qr {
        true => qr_code(uri).unwrap_or_default(),
        false => String::new(),
    };
    format!(
        "Claim {claim} lets {device} enroll once, in {environment} under {profile}, until {expires_at}.\n\
         Its secret is shown only once.\n\n\
         {uri}\n{qr}\n\
         The SHA-256 of the home's root certificate is {root_sha256}.\n\
         `root` in the code is the SHA-256 of the root's key, so it differs from the line above.\n\n\
         On a Linux device:\n\n{}\n\n\
         With openssl and mosquitto_rr, and ca.pem from `hearthkey trust bundle`:\n\n{}",
        agent_line(opened),
        mosquitto_lines(opened)
    )
}

/// The claim goes through the environment: other users of a machine can read arguments.
fn agent_line(opened: &ClaimOpened) -> String {
    format!(
        "HEARTHKEY_CLAIM={} hearthkey-agent enroll --dir {}",
        quoted(&opened.uri),
        quoted(&format!("./{}", opened.device))
    )
}

/// The secret goes through a file that `mosquitto_rr` reads its options from: it takes it from no variable, and other users of a
/// machine can read arguments. The request goes as `-m`: `mosquitto_rr` 2.0.11 sends nothing at all for `-f`.
fn mosquitto_lines(opened: &ClaimOpened) -> String {
    let ClaimOpened { device, port, .. } = opened;
    let host = quoted(&opened.host);
    format!(
        "CLAIM={} SECRET={}\n\
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {device}.key -subj /CN={device} -out {device}.csr\n\
         (umask 077; mkdir -p {device}.rr; echo \"-P $SECRET\" > {device}.rr/mosquitto_rr)\n\
         XDG_CONFIG_HOME={device}.rr mosquitto_rr -V mqttv5 -q 1 -W 30 -h {host} -p {port} --cafile ca.pem -i $CLAIM -u $CLAIM \
         -t hearthkey/v1/claims/$CLAIM/enroll -e hearthkey/v1/claims/$CLAIM/enroll/accepted -m \"$(cat {device}.csr)\" > {device}.crt",
        quoted(&opened.claim),
        quoted(&opened.secret),
    )
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The code's light parts and its margin are what is drawn, because most terminals are dark.
fn qr_code(uri: &str) -> Option<String> {
    let code = QrCode::new(uri).ok()?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Some(format!("\n{drawn}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> ClaimOpened {
        ClaimOpened {
            claim: "c-5f0c1d9be2a47386".into(),
            secret: "S3cret_text-0123".into(),
            device: "lamp".into(),
            environment: "home".into(),
            profile: "generic".into(),
            host: "gateway.home.arpa".into(),
            port: 8883,
            root_sha256: "ab".repeat(32),
            root_key_sha256: "cd".repeat(32),
            expires_at: "2026-01-02T03:19:05Z".into(),
            uri: "hearthkey://claim?host=gateway.home.arpa&port=8883".into(),
        }
    }

    #[test]
    fn a_claim_is_told_with_lines_to_paste() {
        assert_eq!(
            text(&opened(), false),
            "Claim c-5f0c1d9be2a47386 lets lamp enroll once, in home under generic, until 2026-01-02T03:19:05Z.\n\
             Its secret is shown only once.\n\n\
             hearthkey://claim?host=gateway.home.arpa&port=8883\n\n\
             The SHA-256 of the home's root certificate is abababababababababababababababababababababababababababababababab.\n\
             `root` in the code is the SHA-256 of the root's key, so it differs from the line above.\n\n\
             On a Linux device:\n\n\
             HEARTHKEY_CLAIM='hearthkey://claim?host=gateway.home.arpa&port=8883' hearthkey-agent enroll --dir ./lamp\n\n\
             With openssl and mosquitto_rr, and ca.pem from `hearthkey trust bundle`:\n\n\
             CLAIM=c-5f0c1d9be2a47386 SECRET=S3cret_text-0123\n\
             openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout lamp.key -subj /CN=lamp -out lamp.csr\n\
             (umask 077; mkdir -p lamp.rr; echo \"-P $SECRET\" > lamp.rr/mosquitto_rr)\n\
             XDG_CONFIG_HOME=lamp.rr mosquitto_rr -V mqttv5 -q 1 -W 30 -h gateway.home.arpa -p 8883 --cafile ca.pem -i $CLAIM -u $CLAIM \
             -t hearthkey/v1/claims/$CLAIM/enroll -e hearthkey/v1/claims/$CLAIM/enroll/accepted -m \"$(cat lamp.csr)\" > lamp.crt"
        );
    }

    #[test]
    fn a_terminal_gets_a_qr_code_as_well() {
        let told = text(&opened(), true);
        assert!(told.contains('█') && told.contains('▀'), "{told}");
    }

    #[test]
    fn what_a_shell_would_obey_is_quoted() {
        assert_eq!(quoted("./lamp-1"), "./lamp-1");
        assert_eq!(quoted("a&b"), "'a&b'");
        assert_eq!(quoted("a'$(x)"), "'a'\\''$(x)'");
        assert_eq!(quoted(""), "''");
    }
}
