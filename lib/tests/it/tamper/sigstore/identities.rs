//! Identities, issuers and claims: whole, byte for byte.

use testkit::{
    forge::{EMAIL, Forge, ISSUER, Leaf},
    pki::{email, uri},
};
use weightseal::{Claim, Code, SigstoreIdentity};

use super::{Case, payload, proves_of, refused_of};

#[test]
fn another_identity_is_refused_however_alike() {
    let case = Case::v2();
    for identity in [
        "DEV@forge.example",
        "Dev@forge.example",
        "dev@FORGE.example",
        "dev@forge.exampl",
        "ev@forge.example",
        "xdev@forge.example",
        "dev@forge.example.evil.example",
        "dev@forge.example/",
        " dev@forge.example",
        "dev@forge.example ",
        "dev@forge.example\n",
        "dev@forge.example\0",
        "d\u{435}v@forge.example",
        "dev\u{200b}@forge.example",
        "dev@forge.ex\u{430}mple",
        "mailto:dev@forge.example",
        "dev@*",
        ".*",
        "*",
        "",
    ] {
        let wanted = SigstoreIdentity::new(identity, ISSUER);
        refused_of(&case.root, &case.wire, wanted, Code::IdentityNotExpected);
    }
}

#[test]
fn another_issuer_is_refused_however_alike() {
    let case = Case::v2();
    for issuer in [
        "https://issuer.forge.example/",
        "https://ISSUER.forge.example",
        "HTTPS://issuer.forge.example",
        "http://issuer.forge.example",
        "issuer.forge.example",
        "https://issuer.forge.exampl",
        "https://issuer.forge.example.evil.example",
        "https://issuer.forge.example ",
        "https://issuer.forge.example#",
        "https://\u{456}ssuer.forge.example",
        ".*",
        "",
    ] {
        let wanted = SigstoreIdentity::new(EMAIL, issuer);
        refused_of(&case.root, &case.wire, wanted, Code::IssuerNotExpected);
    }
}

#[test]
fn patterns_match_the_whole_text_or_not_at_all() {
    let case = Case::v2();
    let of = |pattern: &str| SigstoreIdentity::matching(pattern, ISSUER).unwrap();
    for pattern in [
        r"dev@forge\.example",
        r".*@forge\.example",
        r"[a-z]+@forge\.example",
        r"nobody@x|dev@forge\.example",
        r"dev@forge\.example|nobody@x",
        r"dev@forge\.example|",
        r"dev|dev@forge\.example",
        r"^dev@forge\.example$",
        r"(?i)DEV@forge\.example",
    ] {
        proves_of(&case.root, &case.wire, of(pattern));
    }
    for pattern in [
        r"ev@forge\.example",
        r"dev@forge\.exampl",
        r"dev",
        r"forge",
        r"dev|forge\.example",
        r"a|b",
        r"",
        r"$",
        r"^",
        r"DEV@forge\.example",
    ] {
        refused_of(&case.root, &case.wire, of(pattern), Code::IdentityNotExpected);
    }
    let longer = |name| {
        let forge = Forge::new();
        let leaf = forge.issue(&Leaf { names: vec![email(name)], ..forge.leaf() });
        forge.v2().by(&leaf).bundle(&payload())
    };
    for name in ["xdev@forge.examplex", "xdev@forge.example", "dev@forge.examplex", "dev@forge.example\nx"] {
        let wanted = of(r"dev@forge\.example");
        refused_of(&case.root, &longer(name), wanted, Code::IdentityNotExpected);
        let wanted = of(r"nobody|dev@forge\.example");
        refused_of(&case.root, &longer(name), wanted, Code::IdentityNotExpected);
        let wanted = of(r"(?m)^dev@forge\.example$");
        refused_of(&case.root, &longer(name), wanted, Code::IdentityNotExpected);
    }
}

#[test]
fn patterns_that_are_none_are_misuse() {
    for pattern in
        ["(", ")", "a)|(b", "[", "*", r"\", "(?P<n>", "a{99999999}", ")|.*|(", "(?x) dev@forge # and so on"]
    {
        let error = SigstoreIdentity::matching(pattern, ISSUER).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument, "{pattern}");
        let error = SigstoreIdentity::new(EMAIL, ISSUER).issuer_matching(pattern).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument, "{pattern}");
    }
}

#[test]
fn issuers_match_patterns_as_identities_do() {
    let case = Case::v2();
    let of = |pattern: &str| SigstoreIdentity::new(EMAIL, "").issuer_matching(pattern).unwrap();
    proves_of(&case.root, &case.wire, of(r"https://[a-z]+\.forge\.example"));
    for pattern in [r"https://[a-z]+\.forge", r"issuer\.forge\.example", r"https://|x", ""] {
        refused_of(&case.root, &case.wire, of(pattern), Code::IssuerNotExpected);
    }
}

#[test]
fn claims_have_to_be_there_and_the_same() {
    let forge = Forge::new();
    let workflow = "https://github.com/acme/model/.github/workflows/release.yml@refs/heads/main";
    let claims =
        Claim::ALL.iter().zip(9..).map(|(claim, arc)| (arc, format!("the {}", claim.name()))).collect();
    let leaf = forge.issue(&Leaf { names: vec![uri(workflow)], claims, ..forge.leaf() });
    let wire = forge.v2().by(&leaf).bundle(&payload());
    let who = || SigstoreIdentity::new(workflow, ISSUER);
    let all = Claim::ALL.iter().fold(who(), |who, claim| who.claim(*claim, format!("the {}", claim.name())));
    proves_of(&forge.root(), &wire, all);
    for claim in Claim::ALL {
        let name = claim.name();
        for other in [format!("The {name}"), format!("the {name} "), format!("the {name}/x"), String::new()] {
            let wanted = who().claim(*claim, other);
            refused_of(&forge.root(), &wire, wanted, Code::ClaimNotExpected);
        }
        // A person's certificate says nothing of a build.
        let case = Case::v2();
        for wanted in ["x", ""] {
            let wanted = SigstoreIdentity::new(EMAIL, ISSUER).claim(*claim, wanted);
            refused_of(&case.root, &case.wire, wanted, Code::ClaimNotExpected);
        }
    }
}

#[test]
fn claims_are_reported_by_their_names() {
    let forge = Forge::new();
    let leaf = Leaf { claims: vec![(14, "refs/heads/main".to_owned())], ..forge.leaf() };
    let wire = forge.v2().by(&forge.issue(&leaf)).bundle(&payload());
    let proof = proves_of(&forge.root(), &wire, SigstoreIdentity::new(EMAIL, ISSUER));
    assert!(format!("{proof:?}").contains(r#""source-repository-ref": "refs/heads/main""#), "{proof:?}");
}
