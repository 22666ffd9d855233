//go:build !amd64 || purego

package stream

func pathOf() path { return standard }

func expand(*Key, *[rounds + 1][blockSize]byte) { panic("stream: no assembly") }

func (path) blocks(*[rounds + 1][blockSize]byte, []byte, uint64, uint64) {
	panic("stream: no assembly")
}
