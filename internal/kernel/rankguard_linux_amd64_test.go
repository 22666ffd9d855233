//go:build !purego

package kernel

import (
	"fmt"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Networks read no pointer beyond those that rankTile has room for, and of the rows
// themselves what they sort alone: what they fetch ahead does not fault.
func TestNetworksStayInside(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		if current == Generic {
			t.Skip("has no networks")
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		lanes := 16
		if current == AVX2 {
			lanes = 8
		}
		const vectors = 19 // more than two bursts, and a part of one
		spill := make([]byte, rankSpillLen)
		for _, n := range networkSizes {
			rows := fenced[unsafe.Pointer](t, n+rankPastLen, true)
			row := fenced[float32](t, vectors*lanes, true)
			for i := range rows {
				rows[i] = unsafe.Pointer(&row[0])
			}
			out := fenced[float32](t, n*vectors*lanes, true)
			require.NotPanics(t, func() {
				sortRows(current, n, &rows[0], 0, vectors, unsafe.Pointer(&out[0]), 4*n*lanes, unsafe.Pointer(&spill[0]))
				middleRows(current, n, &rows[0], vectors, &out[0], unsafe.Pointer(&spill[0]), 1, 0.5)
			}, fmt.Sprint(n, " rows"))
		}
	})
}
