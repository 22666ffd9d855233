package main

import (
	"fmt"
	"math"
	"slices"
)

// never is the next use of a value that has none.
const never = math.MaxInt

// A placement runs a network on registers: values without room are kept in
// memory at BX, those first whose next use is farthest (Belady).
type placement struct {
	f       *vectorFile
	v       vec
	net     *network
	uses    [][]int // of each value, by its place in the order
	reg     map[int]int
	memory  map[int]string // where a value is, also or only, in memory
	slot    map[int]int
	free    []int
	idle    []int // slots
	slots   int
	load    func(row, reg int)
	outputs map[int][]string // where a value is stored as soon as it is there
	aside   func()           // called asides times, evenly over the network
	asides  int
}

// place writes the network. Inputs come from load; a value in outputs is
// stored; those in keep stay in registers, which are returned.
func (p *placement) place(registers int, order, keep []int) (kept []int) {
	p.uses = make([][]int, len(p.net.values))
	p.reg, p.memory, p.slot = map[int]int{}, map[int]string{}, map[int]int{}
	for i := range registers {
		p.free = append(p.free, registers-1-i)
	}
	for t, v := range order {
		if x := p.net.values[v]; x.op != "" {
			p.uses[x.a] = append(p.uses[x.a], t)
			p.uses[x.b] = append(p.uses[x.b], t)
		}
	}
	for _, v := range keep {
		p.uses[v] = append(p.uses[v], len(order))
	}
	aside := 0
	for t, v := range order {
		x := p.net.values[v]
		for ; aside*len(order) < p.asides*(t+1); aside++ {
			p.aside()
		}
		if x.op == "" {
			p.reg[v] = p.take(t)
			p.load(x.a, p.reg[v])
		} else {
			p.operate(t, v, x)
		}
		for _, at := range p.outputs[v] {
			p.f.op("%s %s, %s", p.move(), p.v.reg(p.reg[v]), at)
			p.memory[v] = at
		}
		p.release(v, t)
	}
	for _, v := range keep {
		kept = append(kept, p.fetch(v, len(order), keep...))
	}
	return kept
}

func (p *placement) operate(t, v int, x value) {
	a, b := x.a, x.b
	if _, in := p.reg[a]; !in {
		a, b = b, a
	}
	ra := p.fetch(a, t, a, b)
	var operand string
	if rb, in := p.reg[b]; in {
		operand = p.v.reg(rb)
	} else if p.next(b, t+1) == never {
		operand = p.memory[b]
	} else {
		operand = p.v.reg(p.fetch(b, t, a, b))
	}
	p.release(a, t)
	p.release(b, t)
	p.reg[v] = p.take(t+1, a, b)
	p.f.op("%s %s, %s, %s", x.op, operand, p.v.reg(ra), p.v.reg(p.reg[v]))
}

func (p *placement) move() string {
	if p.v.bits == 512 {
		return "VMOVDQU64"
	}
	return "VMOVDQU"
}

// next is the first use of v at t or later.
func (p *placement) next(v, t int) int {
	for _, u := range p.uses[v] {
		if u >= t {
			return u
		}
	}
	return never
}

// take frees a register, if need be of a value that is not among kept.
func (p *placement) take(t int, kept ...int) int {
	if last := len(p.free) - 1; last >= 0 {
		r := p.free[last]
		p.free = p.free[:last]
		return r
	}
	victim, farthest := -1, -1
	for v := range p.net.values {
		if _, in := p.reg[v]; in && !slices.Contains(kept, v) {
			if u := p.next(v, t); u > farthest {
				victim, farthest = v, u
			}
		}
	}
	r := p.reg[victim]
	if _, stored := p.memory[victim]; !stored && farthest != never {
		slot := p.slots
		if last := len(p.idle) - 1; last >= 0 {
			slot, p.idle = p.idle[last], p.idle[:last]
		} else {
			p.slots++
		}
		p.slot[victim] = slot
		p.memory[victim] = fmt.Sprintf("%d(BX)", slot*p.v.bits/8)
		p.f.op("%s %s, %s", p.move(), p.v.reg(r), p.memory[victim])
	}
	delete(p.reg, victim)
	return r
}

// fetch brings v to a register, at the expense of none of kept.
func (p *placement) fetch(v, t int, kept ...int) int {
	if r, in := p.reg[v]; in {
		return r
	}
	r := p.take(t, kept...)
	p.f.op("%s %s, %s", p.move(), p.memory[v], p.v.reg(r))
	p.reg[v] = r
	return r
}

// release gives back what v holds if it has no use after t.
func (p *placement) release(v, t int) {
	if p.next(v, t+1) != never {
		return
	}
	if r, in := p.reg[v]; in {
		p.free = append(p.free, r)
		delete(p.reg, v)
	}
	if slot, spilled := p.slot[v]; spilled {
		p.idle = append(p.idle, slot)
		delete(p.slot, v)
	}
}
