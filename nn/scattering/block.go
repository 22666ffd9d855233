package scattering

// scratch is the working memory of one goroutine.
type scratch struct {
	images, outputs [lanes][]float32

	image  []float32 // [width][height][lanes]
	half   []float32 // samples transformed in one dimension
	root   []float32 // spectrum of the images
	folded []float32 // the four parities of a product
	turned []float32 // one of them, inverted in one dimension
	row    []float32 // one column of samples, real and imaginary
	moduli []float32 // [column][row][orientation][lanes]
	inner  []float32 // spectra of the first moduli, by parity
	rows   []float32 // moduli averaged along columns
	maps   []float32 // features [column][row][orientation][lanes]
}

func newScratch(t *Transform) *scratch {
	s, wide := t.source, t.l*lanes
	area := s.p * s.q
	x := &scratch{
		image:  make([]float32, t.height*t.width*lanes),
		half:   make([]float32, max(area*wide/4, s.q*t.height*lanes)),
		root:   make([]float32, (s.q/2+1)*2*s.p*lanes),
		folded: make([]float32, 2*area*wide),
		turned: make([]float32, area*wide/2),
		row:    make([]float32, s.p*wide),
		moduli: make([]float32, area*wide),
		rows:   make([]float32, t.outW*max(s.p*wide, t.height*lanes)),
		maps:   make([]float32, t.outW*t.outH*wide),
	}
	if t.order == 2 && t.j > 1 {
		x.inner = make([]float32, 2*(s.q/2+2)*s.p*wide)
	}
	return x
}

// block transforms the first n of s.images.
func (t *Transform) block(s *scratch, n int) {
	t.gather(s, n)
	src := t.source
	spectrum(s.root, s.half, s.image, src.spectrumV, src.spectrumU, src.p, src.q, t.height, t.width, lanes)
	t.average(s, s.image, src.averageV, src.averageU, t.height, t.width, lanes)
	channel := t.emit(s, n, 0, 1)
	deep := 1 + t.j*t.l
	for j1, g := range t.grids {
		wide := t.l * lanes
		t.moduli(s, t.first[j1], g, s.root)
		t.average(s, s.moduli, g.averageV, g.averageU, g.p, g.q, wide)
		channel = t.emit(s, n, channel, t.l)
		if g.spectrumV[0] == nil {
			continue
		}
		g.spectra(s.inner, s.half, s.moduli, wide)
		for theta := range t.l {
			for j2 := j1 + 1; j2 < t.j; j2++ {
				h := t.grids[j2]
				t.moduli(s, t.second[j1][j2], h, s.inner[theta*lanes:])
				t.average(s, s.moduli, h.averageV, h.averageU, h.p, h.q, wide)
				deep = t.emit(s, n, deep, t.l)
			}
		}
	}
}

// gather lays the images out as [column][row][lane]. Idle lanes keep what they
// held: no lane sees another.
func (t *Transform) gather(s *scratch, n int) {
	for b, image := range s.images[:n] {
		for u := range t.height {
			for v, x := range image[u*t.width : (u+1)*t.width] {
				s.image[(v*t.height+u)*lanes+b] = x
			}
		}
	}
}

// spectrum transforms the real samples x, [width][height][wide], to dst,
// [q/2+1][c][p][wide].
func spectrum(dst, half, x, matrixV, matrixU []float32, p, q, height, width, wide int) {
	multiply(half, matrixV, x, q, height*wide, width, width, height*wide)
	for v := 0; v <= q/2; v++ {
		k := 2 * height
		if v == 0 || v == q/2 { // no imaginary part
			k = height
		}
		multiply(dst[v*2*p*wide:], matrixU, half[halfRows(v)*height*wide:], 2*p, wide, k, 2*height, wide)
	}
}

// spectra transforms the real samples x, [q][p][wide] in split order, to dst: a
// spectrum for each parity of columns and rows, [v 0..q/4][c][u 0..p/2-1][wide].
func (g *grid) spectra(dst, half, x []float32, wide int) {
	hp, hq := g.p/2, g.q/2
	half = half[:hq*hp*wide]
	for parity := range 4 {
		oddV, oddU := parity/2, parity%2
		multiply(half, g.spectrumV[oddV], x[(oddV*hq*g.p+oddU*hp)*wide:], hq, hp*wide, hq, hq, g.p*wide)
		for v := 0; v <= hq/2; v++ {
			k, matrix := 2*hp, g.spectrumU[oddU]
			if v == 0 || v == hq/2 { // one of the parts is zero
				k = hp
				if v > 0 && oddV == 1 {
					matrix = matrix[hp:]
				}
			}
			multiply(dst[(parity*(hq/2+1)+v)*2*hp*wide:], matrix, half[halfRows(v)*hp*wide:], 2*hp, wide, k, 2*hp, wide)
		}
	}
}

// moduli sets s.moduli to the moduli, on grid g, of the spectrum x times the
// filters of f.
func (t *Transform) moduli(s *scratch, f *fold, g *grid, x []float32) {
	wide := t.l * lanes
	hp, hq := g.p/2, g.q/2
	f.run(s.folded, x)
	plane := 2 * hq * hp * wide
	for parity := range 4 {
		oddV, oddU := parity/2, parity%2
		turned := s.turned[:plane]
		multiply(turned, g.inverseV[oddV], s.folded[parity*plane:], 2*hq, hp*wide, 2*hq, 2*hq, hp*wide)
		for m := range hq {
			multiply(s.row, g.inverseU[oddU], turned[m*2*hp*wide:], 2*hp, wide, 2*hp, 2*hp, wide)
			to := ((oddV*hq+m)*g.p + oddU*hp) * wide
			modulus(s.moduli[to:to+hp*wide], s.row[:hp*wide], s.row[hp*wide:2*hp*wide])
		}
	}
}

// average sets s.maps to the samples x, [width][height][wide], convolved with φ
// and sampled.
func (t *Transform) average(s *scratch, x, matrixV, matrixU []float32, height, width, wide int) {
	multiply(s.rows, matrixV, x, t.outW, height*wide, width, width, height*wide)
	for v := range t.outW {
		multiply(s.maps[v*t.outH*wide:], matrixU, s.rows[v*height*wide:], t.outH, wide, height, height, wide)
	}
}

// emit writes s.maps to n outputs, from the given channel on, and returns the
// next one.
func (t *Transform) emit(s *scratch, n, channel, count int) int {
	area := t.outH * t.outW
	for v := range t.outW {
		for u := range t.outH {
			from := s.maps[(v*t.outH+u)*count*lanes:][:count*lanes]
			for b, out := range s.outputs[:n] {
				at := channel*area + u*t.outW + v
				for i := b; i < len(from); i += lanes {
					out[at] = from[i]
					at += area
				}
			}
		}
	}
	return channel + count
}
