package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, values := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(values); got != want {
			t.Errorf("median of %v: %v, want %v", values, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for want, loads := range map[string][]string{"2.10 to 11.00": {"11.00", "2.10", "9.80"}, "0.50": {"0.50", "0.50"}} {
		if got := span(loads); got != want {
			t.Errorf("span of %v: %s, want %s", loads, got, want)
		}
	}
}

func TestSteadyRate(t *testing.T) {
	t.Parallel()
	var ends []time.Time
	for i := range warmUp {
		ends = append(ends, time.Unix(int64(10*i), 0)) // slow
	}
	for i := range 20 {
		ends = append(ends, ends[warmUp-1].Add(time.Duration(i+1)*time.Second/2))
	}
	if got := steadyRate(ends); got != 2 {
		t.Errorf("%v per second, want 2", got)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	r := newReport("v1.34.4")
	for _, value := range []float64{1.0, 1.3, 1.2} {
		r.add("ratio", "", value, &target{atMost: 1.15})
	}
	r.add("share", "%", 80, &target{atLeast: 80})
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"ratio  1.20    ", "≤ 1.15  MISSED  1.00   1.30  3", "≥ 80    met"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	r := newReport("v1.34.4")
	path := filepath.Join(t.TempDir(), "picture.svg")
	if err := drawColdStarts(path, r); err == nil {
		t.Error("drew nothing without an error")
	}
	for _, name := range []string{trivial, "graf-submit", "graf-callback", "graf-memory", "graf-embed", "graf-launch", "graf-finalize"} {
		r.add(coldName(name), "ms", 1000, nil)
		for _, stage := range stages {
			r.add(stageName(name, stage), "ms", 250, nil)
		}
	}
	if err := drawColdStarts(path, r); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `width="150.0"`); n != 7*4 {
		t.Errorf("%d stages of 250 ms are a quarter of the width, not 28", n)
	}
	for decoder := xml.NewDecoder(strings.NewReader(string(text))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
