//! Overwrites what an operation on secrets left on the stack and in vector registers.
//!
//! X25519, HKDF and AES leave keys and the last block of plaintext in dead stack frames and vector
//! registers, in release builds too. Measured with a memory scanner at 8-byte windows, a scrub on
//! the same thread right after the operation leaves none.

use std::hint::black_box;

/// Call right after an operation on keys or plaintext, on the thread that did it.
///
/// Costs a few microseconds: it overwrites 96 KiB.
#[inline(never)]
pub fn scrub() {
    let mut dead = [0u8; 96 * 1024];
    wipe(&mut dead);
    registers();
}

/// The same for code that only moved a few words: 2 KiB, some tens of nanoseconds.
#[inline(never)]
pub fn scrub_lightly() {
    let mut dead = [0u8; 2 * 1024];
    wipe(&mut dead);
    registers();
}

#[inline(always)]
fn wipe(dead: &mut [u8]) {
    // SAFETY: the slice is exactly this many writable bytes.
    unsafe { memsec::memzero(dead.as_mut_ptr(), dead.len()) };
    black_box(dead);
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn registers() {
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512, as just asked.
        unsafe { zmm() };
    } else if std::is_x86_feature_detected!("avx") {
        // SAFETY: the processor has AVX, as just asked.
        unsafe { ymm() };
    } else {
        xmm();
    }
}

/// Declares every register below 16 as overwritten.
#[cfg(target_arch = "x86_64")]
macro_rules! zero_vectors {
    ($($line:literal),+) => {
        std::arch::asm!($($line),+,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
            out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _,
            out("xmm15") _, options(nostack, nomem, preserves_flags))
    };
}

#[cfg(target_arch = "x86_64")]
fn xmm() {
    // SAFETY: SSE2 is part of x86_64; every register touched is declared.
    unsafe {
        zero_vectors!(
            "xorps xmm0,xmm0",
            "xorps xmm1,xmm1",
            "xorps xmm2,xmm2",
            "xorps xmm3,xmm3",
            "xorps xmm4,xmm4",
            "xorps xmm5,xmm5",
            "xorps xmm6,xmm6",
            "xorps xmm7,xmm7",
            "xorps xmm8,xmm8",
            "xorps xmm9,xmm9",
            "xorps xmm10,xmm10",
            "xorps xmm11,xmm11",
            "xorps xmm12,xmm12",
            "xorps xmm13,xmm13",
            "xorps xmm14,xmm14",
            "xorps xmm15,xmm15"
        );
    }
}

/// # Safety
/// The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn ymm() {
    // SAFETY: `vzeroall` zeroes exactly the declared registers.
    unsafe { zero_vectors!("vzeroall") };
}

/// # Safety
/// The processor has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn zmm() {
    ymm();
    // SAFETY: each register is declared; they are never callee-saved.
    unsafe {
        std::arch::asm!(
            "vpxorq zmm16,zmm16,zmm16", "vpxorq zmm17,zmm17,zmm17", "vpxorq zmm18,zmm18,zmm18",
            "vpxorq zmm19,zmm19,zmm19", "vpxorq zmm20,zmm20,zmm20", "vpxorq zmm21,zmm21,zmm21",
            "vpxorq zmm22,zmm22,zmm22", "vpxorq zmm23,zmm23,zmm23", "vpxorq zmm24,zmm24,zmm24",
            "vpxorq zmm25,zmm25,zmm25", "vpxorq zmm26,zmm26,zmm26", "vpxorq zmm27,zmm27,zmm27",
            "vpxorq zmm28,zmm28,zmm28", "vpxorq zmm29,zmm29,zmm29", "vpxorq zmm30,zmm30,zmm30",
            "vpxorq zmm31,zmm31,zmm31",
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _,
            out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _,
            out("zmm31") _, options(nostack, nomem, preserves_flags)
        );
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(never)]
fn registers() {
    // SAFETY: NEON is part of aarch64; every register touched is declared, and the callee-saved
    // low halves of v8 to v15 are left to their owners.
    unsafe {
        std::arch::asm!(
            "movi v0.2d,#0", "movi v1.2d,#0", "movi v2.2d,#0", "movi v3.2d,#0", "movi v4.2d,#0",
            "movi v5.2d,#0", "movi v6.2d,#0", "movi v7.2d,#0", "movi v16.2d,#0", "movi v17.2d,#0",
            "movi v18.2d,#0", "movi v19.2d,#0", "movi v20.2d,#0", "movi v21.2d,#0",
            "movi v22.2d,#0", "movi v23.2d,#0", "movi v24.2d,#0", "movi v25.2d,#0",
            "movi v26.2d,#0", "movi v27.2d,#0", "movi v28.2d,#0", "movi v29.2d,#0",
            "movi v30.2d,#0", "movi v31.2d,#0",
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _,
            out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, nomem, preserves_flags)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("scrub: say how to overwrite the vector registers of this processor");
