// Command graf-bench measures Graf on this machine, as `make bench` runs it: the
// release programs on a platform of its own, with free ports, a data folder that
// is removed at the end, and a Postgres that waits for the disk. It prints a
// table, and the same as JSON on request. docs/performance.md explains the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// benchmark is one measurement.
type benchmark struct {
	name     string
	settings []string // of the functions
	run      func(context.Context, *environment) error
}

// benchmarks are run in this order, each on a platform of its own, so that none
// is slowed by what another left in the database.
var benchmarks = []benchmark{
	{"submissions", occupied, benchSubmissions("submissions", minimal, false)},
	{"submissions-gateway", occupied, benchSubmissions("submissions through the gateway", minimal, true)},
	{"submissions-manifests", occupied, benchSubmissions("submissions with manifests", withManifests(), false)},
	{"submissions-manifests-gateway", occupied, benchSubmissions("submissions with manifests through the gateway", withManifests(), true)},
	{"one-task", nil, benchOneTask("one task at a time", samePrompt, atMost(50))},
	{"one-task-distinct", nil, benchOneTask("one task at a time, distinct prompts", distinctPrompt, atMost(50))},
	{"pipeline", nil, benchPipeline("pipeline", samePrompt, atLeast(200))},
	{"pipeline-distinct", nil, benchPipeline("pipeline, distinct prompts", distinctPrompt, atLeast(200))},
	{"functions", nil, benchFunctions},
}

// options are the command line.
type options struct {
	programs    string
	only        *regexp.Regexp
	rounds      int
	submissions int
	tasks       int
	single      int
	json        string
	profile     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "graf-bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	report := newReport(o.rounds)
	for _, b := range benchmarks {
		if !o.only.MatchString(b.name) {
			continue
		}
		for round := range o.rounds {
			fmt.Fprintf(os.Stderr, "graf-bench: %s, round %d of %d, load average %s\n", b.name, round+1, o.rounds, loadAverage())
			if err := runOnce(ctx, o, report, b); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
	}
	report.print(os.Stdout)
	if o.json == "" {
		return nil
	}
	return report.writeJSON(o.json)
}

func parse() (options, error) {
	var o options
	only := flag.String("bench", ".", "run the benchmarks whose name matches this regular expression")
	flag.StringVar(&o.programs, "programs", "bin", "folder of the programs that make build makes")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each benchmark is run; medians are reported")
	flag.IntVar(&o.submissions, "submissions", 3000, "submissions per measurement")
	flag.IntVar(&o.tasks, "tasks", 1000, "tasks per pipeline measurement")
	flag.IntVar(&o.single, "single", 200, "tasks that are run one at a time")
	flag.StringVar(&o.json, "json", "", "write the figures to this file, too")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a processor profile of the platform's own process (Broker, Kubernetes, gateway and the clients) to this file")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-bench: %w", err)
	}
	if o.rounds < 1 || o.submissions < 100 || o.tasks < 100 || o.single < 10 {
		return o, errors.New("give -rounds 1 or more, -submissions and -tasks 100 or more, -single 10 or more")
	}
	o.programs, err = filepath.Abs(o.programs)
	return o, err
}

// runOnce runs one benchmark on a platform of its own.
func runOnce(ctx context.Context, o options, r *report, b benchmark) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	e, err := start(ctx, o, r, b.settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop(ctx)) }()
	return b.run(ctx, e)
}
