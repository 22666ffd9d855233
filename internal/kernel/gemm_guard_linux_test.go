package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fenced returns a slice of n elements that ends, or starts, at a page that may
// not be touched.
func fenced[T any](t *testing.T, n int, atEnd bool) []T {
	t.Helper()
	page := syscall.Getpagesize()
	size := n * int(unsafe.Sizeof(*new(T)))
	pages := (size + page - 1) / page
	mem, err := syscall.Mmap(-1, 0, (pages+2)*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(mem)) })
	require.NoError(t, syscall.Mprotect(mem[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(mem[(pages+1)*page:], syscall.PROT_NONE))
	start := page
	if atEnd {
		start = (pages+1)*page - size
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[start])), n)
}

// No kernel touches memory outside its operands, neither to read nor to write
// back what was there.
func TestGEMMStaysInside(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		r := rand.New(rand.NewPCG(9, 9))
		for _, n := range []int{1, 7, 8, 9, 10, 16, 17, 24, 31, 32, 33, 40, 48, 56, 63, 64, 65, 72, 79} {
			for _, m := range []int{1, 5, 13, 30} {
				k := []int{1, 3, 9, 40, 257}[r.IntN(5)]
				for _, atEnd := range []bool{false, true} {
					a, b := fenced[float32](t, m*k, atEnd), fenced[float32](t, k*n, atEnd)
					c, sum := fenced[float32](t, m*n, atEnd), fenced[int64](t, m*n, atEnd)
					what := fmt.Sprintf("m=%d n=%d k=%d at end %v", m, n, k, atEnd)
					require.NotPanics(t, func() {
						GEMM(NN, m, n, k, a, k, b, n, c, n, false)
						GEMM(NT, m, n, k, a, k, b, k, c, n, true)
						GEMM(TN, m, n, k, a, m, b, n, c, n, true)
						GEMMRuns(m, n, a, m, b, n, []int{k / 2, k}, sum, n)
					}, what)
				}
			}
		}
	})
}
