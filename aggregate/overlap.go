package aggregate

import "unsafe"

// overlaps says whether two slices share memory.
func overlaps(a, b []float32) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, y := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return x < y+4*uintptr(len(b)) && y < x+4*uintptr(len(a))
}
