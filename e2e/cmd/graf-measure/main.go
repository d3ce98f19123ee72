// Command graf-measure measures Graf on the cluster in use, as make bench-cluster
// runs it, beside a trivial function of the same runtime, a bare chain of two of
// those, and bare Jobs. It brings them along in a namespace of their own, which
// it removes at the end. It prints a table, and the same as JSON on request.
// docs/performance.md explains the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	image   string
	only    *regexp.Regexp
	rounds  int
	colds   int
	events  int
	tasks   int
	json    string
	picture string
}

// measurement is one part of a run.
type measurement struct {
	name string
	run  func(context.Context, *environment) error
}

// measurements are run in this order: those of a cluster at rest first.
var measurements = []measurement{
	{"images", measureImages},
	{"rest", measureRest},
	{"coldstart", measureColdStarts},
	{"chain", measureChain},
	{"pipeline", measurePipeline},
}

// timeout bounds each measurement.
const timeout = time.Hour

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "graf-measure:", err)
		stop()
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	only := flag.String("bench", ".", "take the measurements whose name matches this regular expression")
	flag.StringVar(&o.image, "image", "", "image of e2e/cmd/trivial, as the cluster knows it")
	flag.IntVar(&o.rounds, "rounds", 3, "how often chain and pipeline are measured; medians are reported")
	flag.IntVar(&o.colds, "cold-starts", 9, "how often each function is started from zero")
	flag.IntVar(&o.events, "events", 2000, "events per measurement of the chain")
	flag.IntVar(&o.tasks, "tasks", 60, "tasks, and bare Jobs, per measurement of the pipeline")
	flag.StringVar(&o.json, "json", "", "write the figures to this file, too")
	flag.StringVar(&o.picture, "picture", "", "draw the cold starts to this file, as SVG")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-bench: %w", err)
	}
	if o.image == "" {
		return o, errors.New("-image is missing: run it with make bench-cluster")
	}
	if o.rounds < 1 || o.colds < 1 || o.events < 100 || o.tasks < 10 {
		return o, errors.New("give -rounds and -cold-starts 1 or more, -events 100 or more, -tasks 10 or more")
	}
	return o, nil
}

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	e, err := newEnvironment(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	defer func() { e.report.print(os.Stdout) }() // what there is, when it fails, too
	for _, m := range measurements {
		if !o.only.MatchString(m.name) {
			continue
		}
		note("%s, load average %s", m.name, loadAverage())
		ctx, cancel := context.WithTimeout(ctx, timeout)
		err := m.run(ctx, e)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if o.picture != "" {
		if err := drawColdStarts(o.picture, e.report); err != nil {
			return err
		}
	}
	if o.json == "" {
		return nil
	}
	return e.report.writeJSON(o.json)
}

// note tells what is going on.
func note(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "graf-measure: "+format+"\n", values...)
}
