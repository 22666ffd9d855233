package main

import "slices"

// A value of a network is an input or the minimum or maximum of two values.
type value struct {
	op   string // "VPMINSD", "VPMAXSD", or "" for an input
	a, b int    // values; of an input, a is its row
}

// A network is a straight-line program of minima and maxima.
type network struct{ values []value }

func (n *network) add(v value) int {
	n.values = append(n.values, v)
	return len(n.values) - 1
}

func (n *network) inputs(count int) []int {
	in := make([]int, count)
	for i := range in {
		in[i] = n.add(value{a: i})
	}
	return in
}

// exchange returns the lesser and the greater of two values.
func (n *network) exchange(a, b int) (int, int) {
	return n.add(value{"VPMINSD", a, b}), n.add(value{"VPMAXSD", a, b})
}

// sort sorts by Batcher's odd-even merge, one half after the other so that few
// values are alive at a time.
func (n *network) sort(in []int) []int {
	if len(in) < 2 {
		return in
	}
	half := len(in) / 2
	return n.merge(n.sort(in[:half]), n.sort(in[half:]))
}

// merge merges two sorted lists of any lengths: their elements of even and of
// odd index apart, then neighbours.
func (n *network) merge(a, b []int) []int {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	case len(a) == 1 && len(b) == 1:
		lesser, greater := n.exchange(a[0], b[0])
		return []int{lesser, greater}
	}
	even := n.merge(every2nd(a, 0), every2nd(b, 0))
	odd := n.merge(every2nd(a, 1), every2nd(b, 1))
	out := []int{even[0]}
	for i := range max(len(odd), len(even)-1) {
		switch {
		case i >= len(odd):
			out = append(out, even[i+1])
		case i+1 >= len(even):
			out = append(out, odd[i])
		default:
			lesser, greater := n.exchange(odd[i], even[i+1])
			out = append(out, lesser, greater)
		}
	}
	return out
}

func every2nd(x []int, first int) (out []int) {
	for i := first; i < len(x); i += 2 {
		out = append(out, x[i])
	}
	return out
}

// sortBitonic sorts a list that rises, then falls, or a rotation of such.
func (n *network) sortBitonic(in []int) []int {
	if len(in)%2 == 1 {
		return n.sort(in)
	}
	half := len(in) / 2
	out := slices.Clone(in)
	for i := range half {
		out[i], out[half+i] = n.exchange(out[i], out[half+i])
	}
	if half == 1 {
		return out
	}
	return append(n.sortBitonic(out[:half]), n.sortBitonic(out[half:])...)
}

// order lists the values that outputs need, as they were made, but each input
// just before its first use.
func (n *network) order(outputs []int) []int {
	needed := make([]bool, len(n.values))
	var need func(v int)
	need = func(v int) {
		if needed[v] {
			return
		}
		needed[v] = true
		if n.values[v].op != "" {
			need(n.values[v].a)
			need(n.values[v].b)
		}
	}
	for _, v := range outputs {
		need(v)
	}
	var order []int
	placed := make([]bool, len(n.values))
	place := func(v int) {
		if !placed[v] {
			placed[v] = true
			order = append(order, v)
		}
	}
	for v, x := range n.values {
		if needed[v] && x.op != "" {
			place(x.a)
			place(x.b)
			place(v)
		}
	}
	for _, v := range outputs {
		place(v)
	}
	return order
}
