package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/sotto-ml/sotto/internal/atomicfile"
)

// A Curve is one line of a panel: Y over X, in the order given.
type Curve struct {
	Name string
	X, Y []float64
}

// A Panel is one pair of axes. Panels of a figure stand side by side.
type Panel struct {
	Title, X, Y string
	Curves      []Curve
	YMin, YMax  float64 // both zero: as the curves ask
}

// colours are Okabe and Ito's, told apart by colour-blind readers too.
var colours = []color.Color{
	color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
	color.RGBA{204, 121, 167, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{86, 180, 233, 255},
}

// CheckPlotName refuses a file name whose ending names no format that Plot
// writes.
func CheckPlotName(name string) error {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".png", ".svg", ".pdf":
		return nil
	}
	return fmt.Errorf("report: plot file %q must end in .png, .svg or .pdf", name)
}

// Plot draws the panels side by side in the file name (.png, .svg or .pdf),
// whole or not at all.
func Plot(name string, panels ...Panel) error {
	if err := CheckPlotName(name); err != nil {
		return err
	}
	if len(panels) == 0 {
		return fmt.Errorf("report: nothing to draw in %s", name)
	}
	row := make([]*plot.Plot, len(panels))
	for i, panel := range panels {
		p, err := panel.plot()
		if err != nil {
			return err
		}
		row[i] = p
	}
	const width, height = 5 * vg.Inch, 3.5 * vg.Inch
	canvas, err := draw.NewFormattedCanvas(vg.Length(len(row))*width, height, strings.ToLower(filepath.Ext(name))[1:])
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: vg.Points(12), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12)}
	for i, c := range plot.Align([][]*plot.Plot{row}, tiles, draw.New(canvas))[0] {
		row[i].Draw(c)
	}
	return atomicfile.Write(name, 0o644, func(w io.Writer) error {
		_, err := canvas.WriteTo(w)
		return err
	})
}

// A Cell of a heat map is a number from 0 to 1, or NaN if there is none, and what is written
// there: the number if nothing is.
type Cell struct {
	Value float64
	Text  string
}

// HeatMap draws cells as a table of colours, cells[i][j] of row i and column j, in the file
// name (.png, .svg or .pdf), whole or not at all. The last apart columns stand a little apart
// from the others. A cell without a number is grey.
func HeatMap(name, title string, rows, columns []string, cells [][]Cell, apart int) error {
	if err := CheckPlotName(name); err != nil {
		return err
	}
	if len(rows) == 0 || len(columns) == 0 || len(cells) != len(rows) {
		return fmt.Errorf("report: %d rows of cells for %d rows and %d columns in %s", len(cells), len(rows), len(columns), name)
	}
	place := func(j int) float64 {
		if x := float64(j); j < len(columns)-apart {
			return x
		}
		return float64(j) + 0.15
	}
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(6)
	var labels plotter.XYLabels
	var inks []color.Color
	for i, row := range cells {
		if len(row) != len(columns) {
			return fmt.Errorf("report: row %q has %d cells, must have %d", rows[i], len(row), len(columns))
		}
		y := float64(len(rows) - 1 - i) // the first row on top
		for j, cell := range row {
			x := place(j)
			box, err := plotter.NewPolygon(plotter.XYs{{X: x - 0.5, Y: y - 0.5}, {X: x + 0.5, Y: y - 0.5}, {X: x + 0.5, Y: y + 0.5}, {X: x - 0.5, Y: y + 0.5}})
			if err != nil {
				return fmt.Errorf("report: %w", err)
			}
			paper, ink := shade(cell.Value)
			box.Color, box.LineStyle.Width = paper, 0
			p.Add(box)
			text := cell.Text
			if text == "" {
				text = fmt.Sprintf("%.2f", cell.Value)
			}
			labels.XYs, labels.Labels = append(labels.XYs, plotter.XY{X: x, Y: y}), append(labels.Labels, text)
			inks = append(inks, ink)
		}
	}
	text, err := plotter.NewLabels(labels)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for i, ink := range inks {
		style := &text.TextStyle[i]
		style.XAlign, style.YAlign, style.Color, style.Font.Size = draw.XCenter, draw.YCenter, ink, vg.Points(10)
	}
	p.Add(text)
	p.NominalX(columns...)
	ticks := make([]plot.Tick, len(columns))
	for j, column := range columns {
		ticks[j] = plot.Tick{Value: place(j), Label: column}
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	reversed := make([]string, len(rows))
	for i, row := range rows {
		reversed[len(rows)-1-i] = row
	}
	p.NominalY(reversed...)
	p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = 0.6, draw.XRight, draw.YTop
	width := vg.Length(len(columns))*0.62*vg.Inch + 2.2*vg.Inch
	height := vg.Length(len(rows))*0.3*vg.Inch + 1.3*vg.Inch
	canvas, err := draw.NewFormattedCanvas(width, height, strings.ToLower(filepath.Ext(name))[1:])
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(12), -vg.Points(6), vg.Points(6), -vg.Points(6)))
	return atomicfile.Write(name, 0o644, func(w io.Writer) error {
		_, err := canvas.WriteTo(w)
		return err
	})
}

// shade is a colour from dark blue (0) over green to yellow (1), evenly in brightness, so that it
// is read without colour too (after viridis), and the ink that is read on it. Of NaN it is grey.
func shade(x float64) (paper, ink color.Color) {
	if math.IsNaN(x) {
		return color.Gray{225}, color.Gray{90}
	}
	stops := [][3]float64{{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}
	at := min(max(x, 0), 1) * float64(len(stops)-1)
	i := min(int(at), len(stops)-2)
	mix := func(k int) uint8 { return uint8(stops[i][k] + (at-float64(i))*(stops[i+1][k]-stops[i][k])) }
	paper, ink = color.RGBA{mix(0), mix(1), mix(2), 255}, color.Black
	if x < 0.5 {
		ink = color.White
	}
	return paper, ink
}

func (panel Panel) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = panel.Title, panel.X, panel.Y
	p.Legend.Left = false
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{230}, color.Gray{230}
	p.Add(grid)
	for i, c := range panel.Curves {
		if len(c.X) != len(c.Y) || len(c.X) == 0 {
			return nil, fmt.Errorf("report: curve %q has %d X and %d Y values", c.Name, len(c.X), len(c.Y))
		}
		points := make(plotter.XYs, len(c.X))
		for j := range points {
			points[j].X, points[j].Y = c.X[j], c.Y[j]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("report: curve %q: %w", c.Name, err)
		}
		line.Width, line.Color = vg.Points(1.8), colours[i%len(colours)]
		p.Add(line)
		if len(panel.Curves) > 1 {
			p.Legend.Add(c.Name, line)
		}
	}
	if panel.YMin != 0 || panel.YMax != 0 {
		p.Y.Min, p.Y.Max = panel.YMin, panel.YMax
	}
	return p, nil
}
