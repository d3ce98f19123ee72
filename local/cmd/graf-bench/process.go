package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of processor time in /proc: Linux shows user space
// 1/100 s on every architecture.
const clockTick = 10 * time.Millisecond

// loadAverage is that of the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func processorName() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// process is one line of /proc/PID/stat, as far as it is of use.
type process struct {
	pid, parent int
	name        string
	// used is its own processor time, waited that of its children that have ended.
	used, waited time.Duration
}

// processes lists all that run.
func processes() ([]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make([]process, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended in the meantime
		}
		p, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// parseStat reads /proc/PID/stat, see proc(5). The name is in parentheses and
// may have spaces.
func parseStat(text string) (process, error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, errors.New("no name in it")
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 15 {
		return process{}, errors.New("too few fields")
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	ticks := func(first int) time.Duration {
		return time.Duration(number(fields[first])+number(fields[first+1])) * clockTick
	}
	return process{
		pid: number(strings.TrimSpace(text[:open])), name: text[open+1 : end], parent: number(fields[1]),
		used: ticks(11), waited: ticks(13),
	}, nil
}

// children are the programs that this process has started, by name.
func children() (map[string]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, p := range all {
		if p.parent == os.Getpid() {
			found[p.name] = p.pid
		}
	}
	return found, nil
}

// processorTimes is the processor time of each part so far. The platform's own
// process has the Broker, Kubernetes, the gateway and the clients in it. The
// agents are its children that have ended.
func processorTimes() (map[string]time.Duration, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	times, self := map[string]time.Duration{}, os.Getpid()
	names := map[int]string{}
	for _, p := range all {
		switch {
		case p.pid == self:
			times["the platform and the clients"] = p.used
			times["the agents"] = p.waited
		case p.parent == self:
			names[p.pid] = p.name
			times[p.name] += p.used + p.waited
		}
	}
	for _, p := range all {
		if name := names[p.parent]; name != "" { // Postgres has a process for each connection
			times[name] += p.used
		}
	}
	return times, nil
}

func processorUse(before, after map[string]time.Duration) map[string]time.Duration {
	use := map[string]time.Duration{}
	for name, t := range after {
		use[name] = t - before[name]
	}
	return use
}

func sortedKeys(m map[string]time.Duration) []string { return slices.Sorted(maps.Keys(m)) }

// residentBytes is the resident set of a process: what it has of memory, and
// the pages of its program that are in use.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: %w", pid, syscall.ESRCH)
}
