//go:build !purego

package stream

import (
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
	"golang.org/x/sys/cpu"
)

func pathOf() path {
	switch l := kernel.Current(); {
	case l >= kernel.AVX512 && cpu.X86.HasAVX512VAES:
		return vaes
	case l >= kernel.AVX2 && cpu.X86.HasAES:
		return aesni
	}
	return standard
}

func expand(k *Key, schedule *[rounds + 1][blockSize]byte) { expandAsm(k, schedule) }

// blocks fills dst, a positive whole number of blocks.
func (p path) blocks(schedule *[rounds + 1][blockSize]byte, dst []byte, id, block uint64) {
	if n := len(dst) / blockSize; p == vaes {
		vaesBlocks(schedule, unsafe.SliceData(dst), n, id, block)
	} else {
		aesniBlocks(schedule, unsafe.SliceData(dst), n, id, block)
	}
}

//go:noescape
func expandAsm(key *Key, schedule *[rounds + 1][blockSize]byte)

//go:noescape
func aesniBlocks(schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64)

//go:noescape
func vaesBlocks(schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64)
