package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/mask"
	"github.com/graf-run/graf/runner/process"
	"github.com/graf-run/graf/runner/repository"
	"github.com/graf-run/graf/runner/spool"
)

// Config is how a task is run; New's defaults are good for all but Agent.
type Config struct {
	// Agent is the kind of agent, Arguments what it gets besides.
	Agent     string
	Arguments []string
	Model     string
	// MCP says that the agent gets the task's MCP server.
	MCP bool
	// Folder is where the agent works.
	Folder string
	// Environment is the whole one, NAME=value; Secrets names variables whose values
	// are hidden besides those whose names say that they are secret.
	Environment []string
	Secrets     []string
	// Grace is what the agent has to end when it is told to, Flush what the spool then
	// has to be sent.
	Grace, Flush time.Duration
	// Artifacts are patterns of files in Folder that are uploaded when the agent has
	// ended, ArtifactsTime what there is for that. An agent that was stopped leaves
	// Flush.
	Artifacts     []string
	ArtifactsTime time.Duration
	// Heartbeat is how often the task hears that its agent lives; 0 or less is never. Each one
	// wakes the callback function, should it be at zero.
	Heartbeat time.Duration
	// SpoolFolder and SpoolLimit, in bytes, are of the events that wait.
	SpoolFolder string
	SpoolLimit  int64
	// Tries is how often an agent is started again after a failure that a later try
	// may not meet.
	Tries  int
	Prices Prices
	// Repository is cloned into Folder, Manifests a folder in it that the submitted
	// manifests are copied to; "" is none.
	Repository repository.Config
	Manifests  string
	// Output gets what the agent writes; Log is the runner's own.
	Output io.Writer
	Log    *slog.Logger
}

// DefaultConfig is for a container.
func DefaultConfig() Config {
	return Config{
		Agent: "command", Environment: os.Environ(), Grace: 10 * time.Second, Flush: 15 * time.Second,
		ArtifactsTime: 10 * time.Minute, Heartbeat: time.Minute,
		SpoolFolder: os.TempDir(), SpoolLimit: 256 << 20, Tries: 5,
		Repository: repository.Config{Timeout: 5 * time.Minute},
		Output:     os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
}

// Why an agent is told to end.
var (
	ErrCancelled = errors.New("cancelled")
	errDeadline  = errors.New("the deadline has passed")
	errBudget    = errors.New("the budget is spent")
)

// idLength is of the random part of events' ids, 5 bits a letter: an agent may start runners of its own, and a
// container be started again, whose events are others.
const idLength = 10

// runner is one run.
type runner struct {
	config   Config
	contract Contract
	mask     *mask.Mask
	spool    *spool.Spool
	sender   *spool.Sender
	log      *slog.Logger
	// prefix and number make the events' ids; dropped counts those that found no room.
	prefix          string
	number, dropped atomic.Int64
	state           state
	// last is the end of the run, if there was no room for it.
	last *spool.Event
}

// state is what is known of the agent; several goroutines tell of it.
type state struct {
	sync.Mutex
	session, summary string
	usage            agent.Usage
	// priced is what parts of the present try's usage cost.
	priced float64
	// overspent is errBudget with the reason once the budget allows no more; stop stops what is under way, if anything is.
	overspent error
	stop      context.CancelCauseFunc
	failure   *agent.Failure
	// outcome is what completed tells besides: where the work went.
	outcome map[string]any
}

// Run runs a task's agent to its end, and returns the exit code for the process: the
// agent's own, or 1 where that is 0 although the run failed. Its error says what
// kept it from running at all.
func Run(ctx context.Context, contract Contract, config Config) (int, error) {
	var err error
	if config.Folder, err = filepath.Abs(config.Folder); err != nil {
		return 1, fmt.Errorf("find the working folder: %w", err)
	}
	r := &runner{
		config: config, contract: contract, log: config.Log, prefix: "runner-" + rand.Text()[:idLength] + "-",
		mask: mask.FromEnvironment(config.Environment, append(config.Secrets, "GRAF_CALLBACK_TOKEN")...),
	}
	if err := config.check(); err != nil {
		return 1, fmt.Errorf("%w: %w", ErrContract, err)
	}
	program, err := agent.New(config.Agent)
	if err != nil {
		return 1, fmt.Errorf("%w: %w", ErrContract, err)
	}
	if config.MCP && contract.MemoryURL == "" {
		return 1, fmt.Errorf("%w: GRAF_MEMORY_URL is missing, which --mcp needs", ErrContract)
	}
	if r.spool, err = spool.Open(config.SpoolFolder, config.SpoolLimit); err != nil {
		return 1, err
	}
	defer func() { _ = r.spool.Close() }() // it has no name: nothing is left
	r.sender = &spool.Sender{
		URL: contract.CallbackURL, Token: contract.Token, Log: config.Log, BudgetSpent: r.budgetSpent,
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	work.Go(func() {
		if err := r.sender.Run(sending, r.spool); err != nil {
			cancel(err)
		}
	})
	code := r.run(ctx, cancel, program)
	stopSending()
	work.Wait()
	r.flush(context.WithoutCancel(ctx))
	return code, nil
}

// run starts the agent, again if that may help, and reports its end.
func (r *runner) run(ctx context.Context, cancel context.CancelCauseFunc, program agent.Agent) int {
	whole := ctx
	ctx, stop := r.bounded(ctx)
	defer stop()
	if !r.speaksForItself() {
		content := map[string]any{"agent": r.config.Agent, "message": r.config.Agent}
		if r.config.Model != "" {
			content["model"], content["message"] = r.config.Model, r.config.Agent+" with model "+r.config.Model
		}
		r.report("started", content)
	}
	beating := r.beat()
	defer beating()
	work, failure := r.openWork(ctx)
	if failure != nil {
		return r.end(process.End{}, failure)
	}
	if r.config.MCP {
		r.wakeMemory(ctx)
	}
	for try := 1; ; try++ {
		end, err := r.once(ctx, program)
		if end.Stopped != nil {
			cancel(end.Stopped) // what is left is to be short
		}
		failure := r.judge(end, err)
		if failure == nil || !r.again(ctx, try, failure) {
			// The deadline is the agent's: one that ended by itself has kept it.
			failure = work.finish(whole, end, failure)
			r.uploadArtifacts(whole)
			code := r.end(end, failure)
			if errors.Is(err, process.ErrStart) {
				code = exitNotStarted
			}
			return code
		}
	}
}

// bounded is a context that ends with the task's deadline.
func (r *runner) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.contract.Deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, r.contract.Deadline, errDeadline)
}

// once runs the agent once. What is over the budget ends the agent, and nothing else:
// one that has ended by itself meanwhile has used its budget up.
func (r *runner) once(ctx context.Context, program agent.Agent) (process.End, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.stoppedBy(cancel)
	defer r.stoppedBy(nil)
	task := agent.Task{
		Prompt: r.contract.Prompt + r.filesNote(), Arguments: r.config.Arguments, Model: r.config.Model, Session: r.sessionID(),
		Environment: lookUp(r.config.Environment),
	}
	r.forgetFailure()
	if r.config.MCP {
		task.MCP = strings.TrimSuffix(r.contract.MemoryURL, "/memory") + "/mcp"
	}
	if task.Session != "" {
		task.Prompt = "Go on: the connection to the model was lost."
	}
	start := program.Start(task)
	if len(start.Args) == 0 {
		return process.End{}, fmt.Errorf("%w: agent command needs a program: graf-runner -- PROGRAM [ARGUMENT…]", process.ErrStart)
	}
	out := &output{mask: r.mask, copyTo: r.config.Output, log: newLogs(r.report)}
	stdout, toStdout := io.Pipe()
	stderr, toStderr := io.Pipe()
	var reading sync.WaitGroup
	reading.Go(func() {
		out.read(stdout, r.config.Agent != "command", func(line string) {
			for _, said := range program.Read(line) {
				r.take(out, said)
			}
		})
	})
	reading.Go(func() { out.read(stderr, false, func(line string) { out.log.add("stderr", line) }) })
	unfollow := r.followSession(program, r.sessionID, func(said agent.Report) { r.take(out, said) })
	end, err := process.Run(ctx, process.Command{
		Args: start.Args, Folder: r.config.Folder, Env: slices.Concat(r.config.Environment, start.Env), Input: strings.NewReader(start.Input),
		Output: toStdout, Errors: toStderr, Grace: r.config.Grace,
	})
	unfollow()                                // before the turn's sum is read: what the file has told is no part of it
	_, _ = toStdout.Close(), toStderr.Close() // never fails
	reading.Wait()
	out.log.close()
	if out.failed != nil {
		r.log.Warn("a part of the agent's output is lost", "error", out.failed)
	}
	return end, err
}

// memoryWakes is what the memory function has to come up from zero.
const memoryWakes = 20 * time.Second

// wakeMemory waits until the memory function answers: an agent that does not find its
// MCP server at once goes on without the tools.
func (r *runner) wakeMemory(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, memoryWakes)
	defer cancel()
	for {
		err := r.askMemory(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.log.Warn("memory does not answer: the agent may lack its tools", "error", err)
			return
		case <-time.After(time.Second):
		}
	}
}

// askMemory asks what earlier tasks taught, of which one answer is enough.
func (r *runner) askMemory(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.contract.MemoryURL+"?limit=1", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask memory: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+r.contract.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask memory: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // of no interest
	if response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("ask memory: it answers %s", response.Status)
	}
	return nil
}

// filesNote tells a language model where the submitted manifests are.
func (r *runner) filesNote() string {
	if r.config.Manifests == "" || r.speaksForItself() {
		return ""
	}
	return "\n\n## Files\n\nThe resources that the task is about are the YAML files in the folder " + r.config.Manifests +
		". Change them there, if they are to change: what they are at the end is what the task has done.\n"
}

// take acts on what the agent said.
func (r *runner) take(out *output, said agent.Report) {
	text, isLog := said.Content["text"].(string)
	switch {
	case said.Type == agent.Log && isLog:
		out.log.add("stdout", text)
	case said.Type == agent.Progress:
		r.progress(said.Content)
	case said.Type != "":
		r.report(said.Type, said.Content)
	}
	r.state.Lock()
	defer r.state.Unlock()
	if said.Session != "" {
		r.state.session = said.Session
	}
	if said.Summary != "" {
		r.state.summary = said.Summary
	}
	if said.Failure != nil {
		r.state.failure = said.Failure
	}
	if said.Usage == nil {
		return
	}
	usage := *said.Usage
	var err error
	if usage.USD, err = r.config.Prices.cost(usage); err != nil && r.contract.Budget.USD > 0 && !usage.Part {
		r.state.overspend(fmt.Errorf("%w: what was used has no known price: %w", errBudget, err))
	}
	usage.USD = r.state.notYet(usage)
	r.state.usage = r.state.usage.Add(usage)
	r.report("usage", usage)
	if over := r.contract.Budget.spent(r.state.usage); over != "" {
		r.state.overspend(fmt.Errorf("%w: %s", errBudget, over))
	}
}

// stoppedBy notes what stops the agent, or the wait for its next try; nil says that it has ended.
func (r *runner) stoppedBy(stop context.CancelCauseFunc) {
	r.state.Lock()
	defer r.state.Unlock()
	if r.state.stop = stop; stop != nil && r.state.overspent != nil {
		stop(r.state.overspent)
	}
}

// budgetSpent hears from Graf, which knows also what the agent itself has reported to have used.
func (r *runner) budgetSpent(what string) {
	r.state.Lock()
	defer r.state.Unlock()
	r.state.overspend(fmt.Errorf("%w: %s", errBudget, what))
}

// overspend stops the agent or the wait for its next try, and has no other follow. The state is locked.
func (s *state) overspend(why error) {
	if s.overspent == nil {
		s.overspent = why
	}
	if s.stop != nil {
		s.stop(s.overspent)
	}
}

// notYet is the cost of a usage without that of the parts that were counted before.
func (s *state) notYet(usage agent.Usage) float64 {
	if usage.Part {
		s.priced += usage.USD
		return usage.USD
	}
	rest := max(usage.USD-s.priced, 0)
	s.priced = 0
	return rest
}

// progress reports what the agent did, with a line for people.
func (r *runner) progress(content map[string]any) {
	if message := agent.Describe(content); message != "" {
		content["message"] = message
	}
	r.report(agent.Progress, content)
}

// sessionID is that of the agent's session, "" as long as it has none.
func (r *runner) sessionID() string {
	r.state.Lock()
	defer r.state.Unlock()
	return r.state.session
}

// forgetFailure is for another try.
func (r *runner) forgetFailure() {
	r.state.Lock()
	defer r.state.Unlock()
	r.state.failure, r.state.priced = nil, 0
}

// judge tells why a try failed, nil if it did not.
func (r *runner) judge(end process.End, err error) *agent.Failure {
	r.state.Lock()
	defer r.state.Unlock()
	switch {
	case err != nil:
		return &agent.Failure{Class: agent.ClassAgent, Reason: err.Error()}
	case errors.Is(end.Stopped, errBudget):
		return &agent.Failure{Class: agent.ClassBudget, Reason: end.Stopped.Error()}
	case errors.Is(end.Stopped, errDeadline):
		return &agent.Failure{Class: agent.ClassTimeout, Reason: "did not end before the deadline and was stopped"}
	case end.Stopped != nil:
		return &agent.Failure{Class: agent.ClassCancelled, Reason: end.Stopped.Error()}
	case r.state.failure != nil:
		return r.state.failure
	case end.Signal != 0:
		return &agent.Failure{Class: agent.ClassAgent, Reason: "the agent was killed by signal " + strconv.Itoa(int(end.Signal))}
	case end.Code != 0:
		return &agent.Failure{Class: agent.ClassAgent, Reason: "the agent exited with code " + strconv.Itoa(end.Code)}
	}
	return nil
}

// again waits for the next try, if there is to be one: only where a later one may
// go better, the agent can go on with what it did, and there is time.
func (r *runner) again(ctx context.Context, try int, failure *agent.Failure) bool {
	r.state.Lock()
	session, overspent := r.state.session, r.state.overspent
	r.state.Unlock()
	mayPass := failure.Class == agent.ClassQuota || failure.Class == agent.ClassInfrastructure
	if !mayPass || overspent != nil || session == "" || try >= r.config.Tries {
		return false
	}
	wait := max(failure.RetryAfter, time.Second<<min(try-1, 8))
	if deadline, bound := ctx.Deadline(); bound && time.Now().Add(wait).After(deadline) {
		return false
	}
	r.progress(map[string]any{
		"kind": "waiting", "reason": failure.Reason, "class": failure.Class, "seconds": wait.Seconds(), "session": session,
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.stoppedBy(cancel)
	defer r.stoppedBy(nil)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
