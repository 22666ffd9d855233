package aggregation_test

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// clock is the seconds that the process has computed if it has one core, and those
// that have passed if it has more.
func clock() float64 {
	if runtime.GOMAXPROCS(0) > 1 {
		return float64(time.Now().UnixNano()) / 1e9
	}
	const processTime = 2
	var t syscall.Timespec
	if _, _, err := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, processTime, uintptr(unsafe.Pointer(&t)), 0); err != 0 {
		panic(err)
	}
	return float64(t.Nano()) / 1e9
}
