package main

import (
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

// target is what a figure should be.
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

func atLeast(value float64) *target { return &target{atLeast: value} }
func atMost(value float64) *target  { return &target{atMost: value} }

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
	Machine machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Figures []*figure `json:"figures"`
}

// machine is where the figures were measured.
type machine struct {
	Processor  string    `json:"processor"`
	Processors int       `json:"processors"`
	Go         string    `json:"go"`
	Time       time.Time `json:"time"`
}

func newReport(rounds int) *report {
	return &report{Rounds: rounds, Machine: machine{
		Processor: processorName(), Processors: runtime.NumCPU(), Go: runtime.Version(), Time: time.Now().UTC(),
	}}
}

// add notes a value; wanted is nil where there is no target.
func (r *report) add(name, unit string, value float64, wanted *target) {
	at := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == name })
	if at < 0 {
		at = len(r.Figures)
		r.Figures = append(r.Figures, &figure{Name: name, Unit: unit, target: wanted})
	}
	f := r.Figures[at]
	f.Values = append(f.Values, value)
	f.Loads = append(f.Loads, loadAverage())
	f.Median = median(f.Values)
	if f.target != nil {
		f.Target, f.Met = f.target.String(), new(f.target.met(f.Median))
	}
}

// addLatencies notes the percentiles of the latencies of one kind of request.
func (r *report) addLatencies(name string, latencies []time.Duration, p50, p99 *target) {
	slices.Sort(latencies)
	r.add(name+", p50", "ms", milliseconds(percentile(latencies, 50)), p50)
	r.add(name+", p99", "ms", milliseconds(percentile(latencies, 99)), p99)
}

// addProcessorUse notes how much processor time of each part one of count took.
// What is next to nothing is left out.
func (r *report) addProcessorUse(name, unit string, use map[string]time.Duration, count int) {
	for _, process := range sortedKeys(use) {
		if each := use[process].Seconds() * 1000 / float64(count); each >= 0.01 {
			r.add(name+": processor time of "+process, unit, each, nil)
		}
	}
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s, %d processors, %s, medians of %d rounds\n\n", r.Machine.Processor, r.Machine.Processors, r.Machine.Go, r.Rounds)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what\tmeasured\tunit\ttarget\t\tall rounds\tload")
	for _, f := range r.Figures {
		met := ""
		if f.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*f.Met]
		}
		all := make([]string, len(f.Values))
		for i, v := range f.Values {
			all[i] = number(v)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			f.Name, number(f.Median), f.Unit, f.Target, met, strings.Join(all, " "), strings.Join(f.Loads, " "))
	}
	_ = table.Flush() // standard output
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

// percentile is the nearest-rank percentile of sorted latencies.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
