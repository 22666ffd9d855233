//go:build !purego

package stream

import (
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
	"golang.org/x/sys/cpu"
)

// withVAES says whether there is VAES; that AVX2 works is kernel's to say.
var withVAES = cpu.X86.HasAVX2 && cpu.X86.HasAES && hasVAES()

func pathOf() path {
	switch l := kernel.Current(); {
	case l >= kernel.AVX512 && cpu.X86.HasAVX512VAES && !narrow:
		return vaes512
	case l >= kernel.AVX2 && withVAES && !narrow:
		return vaes256
	case l >= kernel.AVX2 && cpu.X86.HasAES:
		return aesni
	}
	return standard
}

func expand(k *Key, schedule *[rounds + 1][blockSize]byte) { expandAsm(k, schedule) }

// blocks fills dst, a positive whole number of blocks.
func (p path) blocks(schedule *[rounds + 1][blockSize]byte, dst []byte, id, block uint64) {
	switch n := len(dst) / blockSize; p {
	case vaes512:
		vaes512Blocks(schedule, unsafe.SliceData(dst), n, id, block)
	case vaes256:
		vaes256Blocks(schedule, unsafe.SliceData(dst), n, id, block)
	default:
		aesniBlocks(schedule, unsafe.SliceData(dst), n, id, block)
	}
}

//go:noescape
func expandAsm(key *Key, schedule *[rounds + 1][blockSize]byte)

//go:noescape
func aesniBlocks(schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64)

//go:noescape
func vaes256Blocks(schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64)

//go:noescape
func vaes512Blocks(schedule *[rounds + 1][blockSize]byte, dst *byte, n int, id, block uint64)

func hasVAES() bool
