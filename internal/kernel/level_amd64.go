//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

func detect() Level {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return Generic
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		return AVX512
	}
	return AVX2
}
