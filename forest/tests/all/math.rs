//! `exp` and `log1p` are the C library's, to the last bit.

use forest::math;

use crate::generator::{Random, edges};

/// glibc's results on these inputs, for machines whose C library is another one.
#[test]
fn known_results_of_glibc() {
    for (x, expected) in EXP {
        assert_eq!(math::exp(f64::from_bits(x)).to_bits(), expected, "exp of bits {x:#x}");
    }
    for (x, expected) in LOG1P {
        assert_eq!(
            math::log1p(f64::from_bits(x)).to_bits(),
            expected,
            "log1p of bits {x:#x}"
        );
    }
}

#[test]
fn limits() {
    assert_eq!(math::exp(f64::NEG_INFINITY), 0.0);
    assert_eq!(math::exp(-746.0), 0.0);
    assert_eq!(math::exp(710.0), f64::INFINITY);
    assert_eq!(math::exp(-0.0), 1.0);
    assert!(math::exp(f64::NAN).is_nan());
    assert_eq!(math::log1p(-1.0), f64::NEG_INFINITY);
    assert_eq!(math::log1p(f64::INFINITY), f64::INFINITY);
    assert!(math::log1p(-1.5).is_nan());
    assert_eq!(math::log1p(-0.0).to_bits(), (-0.0_f64).to_bits());
}

/// Where std calls a glibc with fused multiply-add, every input must agree.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[test]
fn agrees_with_the_machines_glibc() {
    if !std::arch::is_x86_feature_detected!("fma") || !std::arch::is_x86_feature_detected!("avx2") {
        return;
    }
    let mut random = Random(20);
    let mut inputs = edges();
    for _ in 0..60_000 {
        inputs.push(f64::from_bits(random.next()));
        inputs.push(random.unit() * 40.0 - 20.0);
        inputs.push(-708.0 - random.unit() * 40.0);
        inputs.push(700.0 + random.unit() * 12.0);
        inputs.push((random.unit() - 0.5) * 1e-3);
    }
    for x in inputs {
        let same = |ours: f64, theirs: f64| ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
        assert!(same(math::exp(x), x.exp()), "exp({x:e})");
        assert!(same(math::log1p(x), x.ln_1p()), "log1p({x:e})");
        assert!(same(math::log1p(x.exp()), x.exp().ln_1p()), "log1p(exp({x:e}))");
    }
}

#[rustfmt::skip]
const EXP: [(u64, u64); 24] = [
    (0x3fb999999999999a, 0x3ff1aec7b35a00d4), (0xbfb999999999999a, 0x3fecf46d99d52b3a),
    (0x3ff0000000000000, 0x4005bf0a8b145769), (0xbff0000000000000, 0x3fd78b56362cef38),
    (0x4034800000000000, 0x41c7d6c4f0bcdd5c), (0xc034800000000000, 0x3e157a3afeed00ab),
    (0x40862c0000000000, 0x7fe81e9b4b52d0c9), (0xc086233333333333, 0x000ff15b469edf89),
    (0xc086820000000000, 0x000000077564144f), (0xc087480000000000, 0x0000000000000001),
    (0x401d7f1483a9d150, 0x4098e8a2f67c2ae4), (0x402d03b24160c6bc, 0x413e79454d5c8176),
    (0x4031b62c54ada86e, 0x4187771e873c20d3), (0x403a8c094ecfb376, 0x4253b025614d22c0),
    (0x402cc9af28c7cd3c, 0x413b35960e44677d), (0x403956e97579ad30, 0x42378ac69ff31caf),
    (0xc03c427acd328819, 0x3d62c3916c6a2213), (0xc0008049c97146d0, 0x3fc04565bde1c6f7),
    (0x403a99f58c5e2e5c, 0x4254c9d9ae35bde5), (0x4021e07f8ec71dd0, 0x40bdc38df69d18b2),
    (0x40380dd4e0ad2790, 0x421a0a1bc58032df), (0xc037352808b62822, 0x3dd6eb2c45b03782),
    (0xbffdb1973fc95b00, 0x3fc40241f7c60a63), (0xc02e69485749e3be, 0x3e90b691e4afbf91),
];

#[rustfmt::skip]
const LOG1P: [(u64, u64); 24] = [
    (0x3e112e0be826d695, 0x3e112e0be801f1d9), (0x3f50624dd2f1a9fc, 0x3f5060354f8c3ebf),
    (0xbf50624dd2f1a9fc, 0xbf5064670d979b6f), (0x3fd3333333333333, 0x3fd0ca937be1b9dc),
    (0xbfd3333333333333, 0xbfd6d3c324e13f4e), (0x3fe0000000000000, 0x3fd9f323ecbf984c),
    (0x3ff0000000000000, 0x3fe62e42fefa39ef), (0x4008000000000000, 0x3ff62e42fefa39ef),
    (0x4202a05f20000000, 0x4037069e2aa3184e), (0x4376345785d8a000, 0x4043926cd770aa67),
    (0x403abc827f004f42, 0x400a94fb05ad3b90), (0x403c467784258c47, 0x400b0391beca059f),
    (0xbfd4904d37f9bd1e, 0xbfd8ce3a108eb305), (0x40241f4246d20618, 0x40033a399707b6b6),
    (0x402a858857ebc745, 0x400542972f3d8d43), (0x4046de0279694ecd, 0x400ec17f907a2172),
    (0x404306f4a37d6606, 0x400d51d36b1428d6), (0x401c97c6aa7ecb3a, 0x4000c84b06866fab),
    (0x4043d40903a5e281, 0x400da42a94c31be9), (0x401857cf05a8b60f, 0x3fff5451cba26e47),
    (0x403e7e707e671c08, 0x400b992d9944ee5c), (0x4015e1aeee18b2f0, 0x3ffde033e2e6b146),
    (0xbfecc8b3c13df98f, 0xc0026179a8753095), (0x4045b8b1dcce6a27, 0x400e5a889871129c),
];
