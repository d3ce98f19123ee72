package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

// Of the picture, in pixels.
const (
	pictureWidth = 860
	barsLeft     = 130
	barsWidth    = 600
	barsTop      = 64
	barStep      = 34
	barHeight    = 22
)

// drawnStage is a stage as it is drawn. The colours differ in brightness, too.
type drawnStage struct{ colour, legend string }

var drawnStages = []drawnStage{
	{"#b8c4d0", "pod made"},
	{"#6f9fc8", "container started"},
	{"#2f6690", "Knative's sidecar started"},
	{"#d1495b", "process ready, answered"},
}

// drawColdStarts draws a bar for each function: the stages of the start that took
// the median time. The medians of the stages would not add up to that.
func drawColdStarts(path string, r *report) error {
	names := []string{trivial}
	for _, name := range functionNames {
		names = append(names, "graf-"+name)
	}
	longest := 0.0
	for _, name := range names {
		if r.find(coldName(name)) == nil {
			return fmt.Errorf("no cold starts of %s to draw: -picture needs the measurement coldstart", name)
		}
		longest = max(longest, sum(medianStart(r, name)))
	}
	var svg strings.Builder
	height := barsTop + len(names)*barStep + 46
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13" fill="#222">`+"\n",
		pictureWidth, height, pictureWidth, height)
	fmt.Fprintf(&svg, `<title>Cold starts: time from a request at zero pods to its answer, median</title>`+"\n")
	fmt.Fprintf(&svg, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", pictureWidth, height)
	drawLegend(&svg)
	pixels := barsWidth / longest // per millisecond
	drawAxis(&svg, longest, pixels, len(names))
	for i, name := range names {
		drawBar(&svg, r, name, barsTop+i*barStep, pixels)
	}
	svg.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(svg.String()), 0o644) //nolint:gosec // a picture for everybody
}

func drawLegend(svg *strings.Builder) {
	fmt.Fprintf(svg, `<text x="16" y="22" font-size="15" font-weight="bold">From a request at zero pods to its answer (median)</text>`+"\n")
	x := barsLeft
	for _, stage := range drawnStages {
		fmt.Fprintf(svg, `<rect x="%d" y="36" width="12" height="12" fill="%s"/><text x="%d" y="47">%s</text>`+"\n", x, stage.colour, x+18, stage.legend)
		x += 40 + 7*len(stage.legend)
	}
}

// drawAxis draws a line for each quarter of a second, or fewer for long starts.
func drawAxis(svg *strings.Builder, longest, pixels float64, bars int) {
	step := 250.0
	for longest/step > 8 {
		step *= 2
	}
	bottom := barsTop + bars*barStep
	for at := 0.0; at <= longest; at += step {
		x := barsLeft + at*pixels
		fmt.Fprintf(svg, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555">%.4g s</text>`+"\n",
			x, barsTop-6, x, bottom, x, bottom+18, at/1000)
	}
}

func drawBar(svg *strings.Builder, r *report, name string, y int, pixels float64) {
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", barsLeft-10, y+16, name)
	x, lengths := float64(barsLeft), medianStart(r, name)
	for i, stage := range stages {
		width := lengths[stage] * pixels
		fmt.Fprintf(svg, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, width, barHeight, drawnStages[i].colour)
		x += width
	}
	label := fmt.Sprintf("%.2f s", sum(lengths)/1000)
	if f := r.find("cold start of " + name + ", ratio to trivial"); f != nil {
		label += fmt.Sprintf(" (×%.2f)", f.Median)
	}
	fmt.Fprintf(svg, `<text x="%.1f" y="%d">%s</text>`+"\n", x+8, y+16, label)
}

// medianStart gives the stages, in milliseconds, of the start whose time is nearest
// to the median of all.
func medianStart(r *report, name string) map[string]float64 {
	whole, nearest := r.find(coldName(name)), 0
	for i, value := range whole.Values {
		if math.Abs(value-whole.Median) < math.Abs(whole.Values[nearest]-whole.Median) {
			nearest = i
		}
	}
	lengths := map[string]float64{}
	for _, stage := range stages {
		lengths[stage] = r.find(stageName(name, stage)).Values[nearest]
	}
	return lengths
}
