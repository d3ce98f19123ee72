package main_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// secondsVariable makes this program an agent that writes linesPerSecond for so long.
	secondsVariable = "BENCH_SECONDS"
	linesPerSecond  = 10_000
)

// talk writes the lines, a hundredth of a second's at a time.
func talk(text string) {
	seconds, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	const step = linesPerSecond / 100
	began := time.Now()
	for n := range seconds * linesPerSecond {
		fmt.Fprintf(out, "line %d level=info msg=reconciled name=web replicas=3 took=12ms\n", n)
		if (n+1)%step == 0 {
			if err := out.Flush(); err != nil {
				panic(err)
			}
			time.Sleep(time.Until(began.Add(time.Duration(n/step+1) * 10 * time.Millisecond)))
		}
	}
}

func median(values []time.Duration) float64 {
	slices.Sort(values)
	return float64(values[len(values)/2].Microseconds()) / 1000
}

// BenchmarkStart tells what the runner adds to the start of a command, and to a command that does nothing, in ms: the
// medians of runs in turn with and without it.
func BenchmarkStart(b *testing.B) {
	c := newCallback(b)
	environment := task(b, c.URL)
	var bareStart, bareAll, start, all []time.Duration
	once := func(args ...string) (start, all time.Duration) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = environment
		began := time.Now()
		out, err := cmd.Output()
		all = time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		at, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Unix(0, at).Sub(began), all
	}
	for b.Loop() {
		s, a := once("date", "+%s%N")
		bareStart, bareAll = append(bareStart, s), append(bareAll, a)
		s, a = once(program, "--", "date", "+%s%N")
		start, all = append(start, s), append(all, a)
	}
	b.ReportMetric(median(start)-median(bareStart), "ms-to-start")
	b.ReportMetric(median(all)-median(bareAll), "ms-in-all")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkQuiet tells the most memory that the runner has beside a command that says nothing.
func BenchmarkQuiet(b *testing.B) {
	c := newCallback(b)
	environment := task(b, c.URL)
	peak := 0
	for b.Loop() {
		peak = max(peak, run(b, environment, nil, "--", "sleep", "3").peak)
	}
	b.ReportMetric(float64(peak)/1024, "MiB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLines is an agent that writes 10,000 lines a second for 30 s, to a callback function that takes 50 ms for
// each answer. None may be lost.
func BenchmarkLines(b *testing.B) {
	const seconds = 30
	peak := 0
	var took time.Duration
	for b.Loop() {
		c := newCallback(b)
		c.delay = 50 * time.Millisecond
		got := run(b, task(b, c.URL, secondsVariable+"="+strconv.Itoa(seconds)), nil, "--", os.Args[0])
		if got.code != 0 {
			b.Fatalf("code %d: %s", got.code, got.stderr)
		}
		if lines := strings.Count(c.logged("stdout"), "\n"); lines != seconds*linesPerSecond || len(c.refused) > 0 {
			b.Fatalf("%d lines came, want %d; refused %v", lines, seconds*linesPerSecond, c.refused)
		}
		peak, took = max(peak, got.peak), got.took
	}
	b.ReportMetric(float64(peak)/1024, "MiB")
	b.ReportMetric(seconds*linesPerSecond/took.Seconds(), "lines/s")
	b.ReportMetric(0, "ns/op")
}
