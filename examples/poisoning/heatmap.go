package main

import (
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sotto-ml/sotto/internal/atomicfile"
)

// heatMap draws the table in colours to the file name (.png, .svg or .pdf), whole or not at all.
// What has no accuracy is grey.
func heatMap(name, title string, table [][]result) error {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(6)
	var columns, rows []string
	for _, r := range table[0] {
		columns = append(columns, r.Attack)
	}
	columns = append(columns, "worst")
	var labels plotter.XYLabels
	var inks []color.Color
	for i, cells := range table {
		rows = append(rows, cells[0].Rule)
		y := float64(len(table) - 1 - i) // the first row on top
		for j := range columns {
			accuracy, text := cells[0].Worst, percent(cells[0].Worst)
			if j < len(cells) {
				accuracy, text = cells[j].Accuracy, cells[j].text()
			}
			paper, ink := shade(accuracy)
			x := float64(j)
			if j == len(cells) {
				x += gap
			}
			box, err := plotter.NewPolygon(plotter.XYs{{X: x - 0.5, Y: y - 0.5}, {X: x + 0.5, Y: y - 0.5}, {X: x + 0.5, Y: y + 0.5}, {X: x - 0.5, Y: y + 0.5}})
			if err != nil {
				return fmt.Errorf("poisoning: %w", err)
			}
			box.Color, box.LineStyle.Width = paper, 0
			p.Add(box)
			labels.XYs, labels.Labels = append(labels.XYs, plotter.XY{X: x, Y: y}), append(labels.Labels, text)
			inks = append(inks, ink)
		}
	}
	text, err := plotter.NewLabels(labels)
	if err != nil {
		return fmt.Errorf("poisoning: %w", err)
	}
	for i, ink := range inks {
		style := &text.TextStyle[i]
		style.XAlign, style.YAlign, style.Color, style.Font.Size = draw.XCenter, draw.YCenter, ink, vg.Points(10)
	}
	p.Add(text)
	p.NominalX(columns...)
	ticks := make([]plot.Tick, len(columns))
	for j, column := range columns {
		ticks[j] = plot.Tick{Value: float64(j), Label: column}
	}
	ticks[len(ticks)-1].Value += gap
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	slices.Reverse(rows)
	p.NominalY(rows...)
	p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = 0.6, draw.XRight, draw.YTop
	width := vg.Length(len(columns))*0.62*vg.Inch + 2.2*vg.Inch
	height := vg.Length(len(rows))*0.3*vg.Inch + 1.3*vg.Inch
	canvas, err := draw.NewFormattedCanvas(width, height, strings.ToLower(filepath.Ext(name))[1:])
	if err != nil {
		return fmt.Errorf("poisoning: %w", err)
	}
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(12), -vg.Points(6), vg.Points(6), -vg.Points(6)))
	return atomicfile.Write(name, 0o644, func(w io.Writer) error {
		_, err := canvas.WriteTo(w)
		return err
	})
}

// gap is between the attacks and the worst of them, in widths of a column.
const gap = 0.15

// shade is a colour from dark blue (0) over green to yellow (1), evenly in brightness, so that it
// is read without colour too (after viridis), and the ink that is read on it. Of nil it is grey.
func shade(x *float64) (paper, ink color.Color) {
	if x == nil {
		return color.Gray{225}, color.Gray{90}
	}
	stops := [][3]float64{{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}
	at := min(max(*x, 0), 1) * float64(len(stops)-1)
	i := min(int(at), len(stops)-2)
	mix := func(k int) uint8 { return uint8(stops[i][k] + (at-float64(i))*(stops[i+1][k]-stops[i][k])) }
	paper, ink = color.RGBA{mix(0), mix(1), mix(2), 255}, color.Black
	if *x < 0.5 {
		ink = color.White
	}
	return paper, ink
}
