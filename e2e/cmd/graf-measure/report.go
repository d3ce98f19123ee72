package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// target is what a figure should be; 0 is no bound.
type target struct {
	atLeast, atMost float64
}

func (t *target) met(value float64) bool {
	return value >= t.atLeast && (t.atMost == 0 || value <= t.atMost)
}

func (t *target) String() string {
	if t.atMost == 0 {
		return fmt.Sprintf("≥ %v", t.atLeast)
	}
	return fmt.Sprintf("≤ %v", t.atMost)
}

// figure is one measured quantity; it has a value for each round.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Values []float64 `json:"values"`
	Loads  []string  `json:"loadAverages"`
	Target string    `json:"target,omitempty"`
	Met    *bool     `json:"met,omitempty"`

	target *target
}

// report collects the figures.
type report struct {
	Processor  string    `json:"processor"`
	Processors int       `json:"processors"`
	Kubernetes string    `json:"kubernetes"`
	Time       time.Time `json:"time"`
	Figures    []*figure `json:"figures"`
}

func newReport(kubernetes string) *report {
	return &report{Processor: processorName(), Processors: runtime.NumCPU(), Kubernetes: kubernetes, Time: time.Now().UTC()}
}

// add notes a value; wanted is nil where there is no target.
func (r *report) add(name, unit string, value float64, wanted *target) {
	f := r.find(name)
	if f == nil {
		f = &figure{Name: name, Unit: unit, target: wanted}
		r.Figures = append(r.Figures, f)
	}
	f.Values = append(f.Values, value)
	f.Loads = append(f.Loads, loadAverage())
	f.Median = median(f.Values)
	if f.target != nil {
		f.Target, f.Met = f.target.String(), new(f.target.met(f.Median))
	}
}

func (r *report) find(name string) *figure {
	at := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == name })
	if at < 0 {
		return nil
	}
	return r.Figures[at]
}

// median of a figure, 0 if it was not measured.
func (r *report) median(name string) float64 {
	if f := r.find(name); f != nil {
		return f.Median
	}
	return 0
}

// addPercentiles notes the percentiles of latencies.
func (r *report) addPercentiles(name string, latencies []time.Duration) {
	slices.Sort(latencies)
	for _, p := range []int{50, 99} {
		at := max(0, (len(latencies)*p+99)/100-1) // nearest rank
		r.add(fmt.Sprintf("%s, p%d", name, p), "ms", milliseconds(latencies[at]), nil)
	}
}

func (r *report) print(out io.Writer) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d processors, Kubernetes %s\n\n", r.Processor, r.Processors, r.Kubernetes)
	text.WriteString("what\tmedian\tunit\ttarget\t\tleast\tmost\trounds\tload\n")
	for _, f := range r.Figures {
		met := ""
		if f.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*f.Met]
		}
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.Name, number(f.Median), f.Unit, f.Target, met,
			number(slices.Min(f.Values)), number(slices.Max(f.Values)), len(f.Values), span(f.Loads))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(table, text.String()) // to standard output
	_ = table.Flush()
}

func (r *report) writeJSON(path string) error {
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(encoded, '\n'), 0o600)
}

// number writes three digits, or more of a large number.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// loadAverage is that of this machine in the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// span is the least and the most of load averages.
func span(loads []string) string {
	sorted := slices.SortedFunc(slices.Values(loads), func(a, b string) int {
		return cmp.Or(len(a)-len(b), strings.Compare(a, b)) // all have two digits after the point
	})
	if first, last := sorted[0], sorted[len(sorted)-1]; first != last {
		return first + " to " + last
	}
	return sorted[0]
}

func processorName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
