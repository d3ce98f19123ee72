package conformance

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/kube"
)

// Conformance runs every case against the target.
func Conformance(t *testing.T, target Target) {
	t.Run("endings", func(t *testing.T) { testEndings(t, target) })
	t.Run("contract", func(t *testing.T) { testContract(t, target) })
	t.Run("launch again", func(t *testing.T) { testLaunchAgain(t, target) })
	t.Run("launch at the same time", func(t *testing.T) { testLaunchConcurrently(t, target) })
	t.Run("delete", func(t *testing.T) { testDelete(t, target) })
	t.Run("list", func(t *testing.T) { testList(t, target) })
	t.Run("identities", func(t *testing.T) { testIdentities(t, target) })
	t.Run("refused", func(t *testing.T) { testRefused(t, target) })
}

func testEndings(t *testing.T, target Target) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec   func() kube.JobSpec
		phase  kube.Phase
		code   int
		signal int
		reason string
		tail   string
	}{
		"success": {
			spec:  func() kube.JobSpec { return target.Spec("echo unheard") },
			phase: kube.PhaseSucceeded, reason: "Completed",
		},
		"exit code": {
			spec:  func() kube.JobSpec { return target.Spec("echo out; echo why >&2; exit 7") },
			phase: kube.PhaseFailed, code: 7, reason: "Error", tail: "out\nwhy\n",
		},
		// A process cannot kill itself where it is number 1 of its container, so a child is killed.
		"signal": {
			spec:  func() kube.JobSpec { return target.Spec("sh -c 'kill -9 $$'; exit $?") },
			phase: kube.PhaseFailed, code: 137, signal: 9, reason: "Error",
		},
		"long output": {
			spec: func() kube.JobSpec {
				return target.Spec("i=0; while [ $i -lt 2000 ]; do echo line-$i; i=$((i+1)); done; exit 1")
			},
			phase: kube.PhaseFailed, code: 1, reason: "Error", tail: "line-1999\n",
		},
		"no such program": {
			spec: func() kube.JobSpec {
				spec := target.Spec("")
				spec.Command = []string{"/no/such/program"}
				return spec
			},
			phase: kube.PhaseFailed, code: 128, reason: "StartError", tail: "no such file or directory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, client := Context(t), target.Client(t)
			execution := Launch(t, client, c.spec())
			if end := target.AwaitEnd(ctx, t, execution); end.Phase != c.phase {
				t.Fatalf("phase %q, want %q: %+v", end.Phase, c.phase, end)
			}
			got, err := client.Termination(ctx, execution)
			if err != nil {
				t.Fatal(err)
			}
			if c.signal == 0 && got.ExitCode == 128 {
				got.Signal = 0
			}
			if got.ExitCode != c.code || got.Signal != c.signal || got.Reason != c.reason || got.OOMKilled {
				t.Errorf("%+v, want exit code %d, signal %d, reason %q", got, c.code, c.signal, c.reason)
			}
			if !strings.Contains(got.Message, c.tail) || len(got.Message) > 4096 || (c.code == 0 && got.Message != "") {
				t.Errorf("message %q, want one with %q", got.Message, c.tail)
			}
		})
	}
	t.Run("deadline", func(t *testing.T) { testDeadline(t, target) })
	t.Run("log", func(t *testing.T) { testLog(t, target) })
}

// testLog reads what a container wrote once it has ended, and of one that is deleted while it is being ended.
func testLog(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	ended := Launch(t, client, target.Spec(`echo "to stdout"; echo "to stderr" >&2; exit 3`))
	target.AwaitEnd(ctx, t, ended)
	if log, err := readLog(ctx, client, ended); err != nil || !strings.Contains(log, "to stdout\n") || !strings.Contains(log, "to stderr\n") {
		t.Errorf("got %q, %v", log, err)
	}
	spec := target.Spec("trap '' TERM; echo deaf; while :; do sleep 0.2; done")
	spec.GracePeriod = 10 * time.Second
	deaf := Launch(t, client, spec)
	for log := ""; log != "deaf\n"; time.Sleep(100 * time.Millisecond) {
		var err error
		if log, err = readLog(ctx, client, deaf); ctx.Err() != nil {
			t.Fatalf("the log of what runs: %q, %v", log, err)
		}
	}
	if err := client.Delete(ctx, deaf); err != nil {
		t.Fatal(err)
	}
	if log, err := readLog(ctx, client, deaf); err != nil || log != "deaf\n" {
		t.Errorf("the log of what is being ended: %q, %v", log, err)
	}
	other := deaf
	other.UID = "another"
	if _, err := readLog(ctx, client, other); !errors.Is(err, kube.ErrNotFound) {
		t.Errorf("the log of another execution of that name: %v, want %v", err, kube.ErrNotFound)
	}
}

func readLog(ctx context.Context, client *kube.Client, execution kube.Execution) (string, error) {
	stream, err := client.Log(ctx, execution)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(stream)
	return string(text), errors.Join(err, stream.Close())
}

func testDeadline(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	spec := target.Spec("trap '' TERM; sleep 600 & wait; wait")
	spec.Timeout = time.Second
	end := target.AwaitEnd(ctx, t, Launch(t, client, spec))
	if end.Phase != kube.PhaseDeadlineExceeded || end.Reason != "DeadlineExceeded" || end.FinishedAt.IsZero() {
		t.Errorf("got %+v", end)
	}
}

// contractScript checks the container contract from within; its exit code tells which line failed.
const contractScript = `
test "$GRAF_TASK_ID" = "$1" || exit 11
test "$GRAF_CALLBACK_TOKEN" = "$2" || exit 12
test "$(cat "$GRAF_PROMPT_FILE")" = "# Prompt" || exit 13
test "$(cat "$GRAF_MANIFESTS_DIR/deployment.yaml")" = "kind: Deployment" || exit 14
test "$(cat "$GRAF_MANIFESTS_DIR/binary" | wc -c)" -eq 2 || exit 15
test "$EXTRA" = '$(GRAF_TASK_ID) $$ $HOME' || exit 16
test "$GRAF_DEADLINE" = "2030-01-02T03:04:05Z" || exit 17
test "$TRACEPARENT" = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" || exit 18
case "$GRAF_CALLBACK_URL" in http://callback.test/*/events) ;; *) exit 19 ;; esac
case "$GRAF_MEMORY_URL" in http://memory.test/*/memory) ;; *) exit 20 ;; esac
test "$(pwd -P)" = "$(cd "$HOME" && pwd -P)" || exit 21
echo kept > file && test "$(cat file)" = kept || exit 22
test "$3" = '$(GRAF_TASK_ID) $$' || exit 23
test "$$" -gt 0 || exit 24
test -z "$(ls "$GRAF_MANIFESTS_DIR" | grep -v -e deployment.yaml -e binary)" || exit 25
test ! -e "$(dirname "$GRAF_PROMPT_FILE")/callbackToken" || exit 26
test "$GRAF_BUDGET_TOKENS $GRAF_BUDGET_USD" = "2000000 0.25" || exit 27
`

func testContract(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	spec := target.Spec("")
	spec.Command = []string{"sh", "-c", contractScript, "sh", spec.TaskID, Token, "$(GRAF_TASK_ID) $$"}
	spec.Env = map[string]string{"EXTRA": "$(GRAF_TASK_ID) $$ $HOME"}
	spec.Manifests = map[string][]byte{"deployment.yaml": []byte("kind: Deployment"), "binary": {0xff, 0xfe}}
	spec.Deadline = time.Date(2030, 1, 2, 4, 4, 5, 0, time.FixedZone("", 3600))
	spec.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spec.Budget = kube.Budget{Tokens: new(int64(2_000_000)), USD: new(0.25)}
	execution := Launch(t, client, spec)
	if end := target.AwaitEnd(ctx, t, execution); end.Phase != kube.PhaseSucceeded {
		termination, err := client.Termination(ctx, execution)
		t.Errorf("the container's own check failed: %+v, %v", termination, err)
	}
}

func testLaunchAgain(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	spec := target.Spec("exit 0")
	first := Launch(t, client, spec)
	again, err := client.Launch(ctx, spec)
	if err != nil || again != first {
		t.Fatalf("while it runs: %+v, %v; want %+v", again, err, first)
	}
	target.AwaitEnd(ctx, t, first)
	again, err = client.Launch(ctx, spec)
	if err != nil || again != first {
		t.Fatalf("after its end: %+v, %v; want %+v", again, err, first)
	}
	if end, err := client.Get(ctx, first); err != nil || end.Phase != kube.PhaseSucceeded {
		t.Errorf("launching again changed the execution: %+v, %v", end, err)
	}
}

func testLaunchConcurrently(t *testing.T, target Target) {
	t.Parallel()
	client, spec := target.Client(t), target.Spec("exit 0")
	first := Launch(t, client, spec)
	var launches sync.WaitGroup
	for range 8 {
		launches.Go(func() {
			if got, err := client.Launch(Context(t), spec); err != nil || got != first {
				t.Errorf("%+v, %v; want %+v", got, err, first)
			}
		})
	}
	launches.Wait()
	if end := target.AwaitEnd(Context(t), t, first); end.Phase != kube.PhaseSucceeded {
		t.Errorf("got %+v", end)
	}
}

func testDelete(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	execution := Launch(t, client, target.Spec("trap '' TERM; sleep 600 & wait; wait"))
	other := execution
	other.UID = "00000000-0000-0000-0000-000000000000"
	if err := client.Delete(ctx, other); err != nil {
		t.Fatalf("deleting a namesake that is gone: %v", err)
	}
	if got, err := client.Get(ctx, execution); err != nil || got.Phase != kube.PhaseActive || got.Deleting {
		t.Fatalf("deleting a namesake touched this execution: %+v, %v", got, err)
	}
	for range 2 {
		if err := client.Delete(ctx, execution); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	if got, err := client.Get(ctx, execution); !errors.Is(err, kube.ErrNotFound) && !got.Deleting {
		t.Errorf("Get after Delete: %+v, %v", got, err)
	}
}

func testList(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	first := target.Spec("exit 0")
	second := first
	second.Attempt = 2
	for _, spec := range []kube.JobSpec{first, second} {
		target.AwaitEnd(ctx, t, Launch(t, client, spec))
	}
	for namespace, want := range map[string]int{target.Namespace: 2, "": 2, "default": 0} {
		got, err := client.List(ctx, namespace)
		if err != nil {
			t.Fatal(err)
		}
		// The tests beside this one have executions of their own.
		got = slices.DeleteFunc(got, func(o kube.Observation) bool { return o.TaskID != first.TaskID })
		if len(got) != want {
			t.Errorf("namespace %q: %d executions of the task, want %d", namespace, len(got), want)
		}
		for _, o := range got {
			if o.Execution.Name != kube.JobName(first.TaskID, o.Attempt) || o.Execution.UID == "" || o.StartedAt.IsZero() {
				t.Errorf("namespace %q: got %+v", namespace, o)
			}
		}
	}
}

// testIdentities grants no rights, which a cluster without RBAC could not: an attempt's accounts come and go with it.
func testIdentities(t *testing.T, target Target) {
	t.Parallel()
	ctx, client := Context(t), target.Client(t)
	taskID, other := target.Spec("").TaskID, target.Spec("").TaskID
	of := func(id string) (attempts []int) {
		t.Helper()
		identities, err := client.ListIdentities(ctx, target.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		for _, identity := range identities {
			if identity.TaskID == id {
				attempts = append(attempts, identity.Attempt)
			}
		}
		return attempts
	}
	revoke := func(id string, attempt int) {
		t.Helper()
		if err := client.Revoke(ctx, id, attempt, target.Namespace, []string{target.Namespace}); err != nil {
			t.Errorf("revoke attempt %d: %v", attempt, err)
		}
	}
	for id, attempts := range map[string]int{taskID: 2, other: 1} {
		for attempt := range attempts {
			container, actions := kube.Identities(id, attempt+1, target.Namespace, nil)
			if err := client.Grant(ctx, container, actions); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { revoke(other, 1) })
	if got := of(taskID); len(got) != 4 {
		t.Errorf("accounts of attempts %v, want two of each", got)
	}
	revoke(taskID, 1)
	if got := of(taskID); !slices.Equal(got, []int{2, 2}) {
		t.Errorf("accounts of attempts %v after the first was revoked", got)
	}
	for range 2 { // what is gone is no error
		revoke(taskID, 2)
	}
	if mine, others := of(taskID), of(other); len(mine) != 0 || len(others) != 2 {
		t.Errorf("accounts of attempts %v, and of another task %v", mine, others)
	}
}

func testRefused(t *testing.T, target Target) {
	t.Parallel()
	client := target.Client(t)
	for name, c := range map[string]struct {
		call func(context.Context) error
		want error
	}{
		"no such namespace": {func(ctx context.Context) error {
			spec := target.Spec("exit 0")
			spec.Namespace = "no-such-namespace"
			_, err := client.Launch(ctx, spec)
			return err
		}, kube.ErrNotFound},
		"no such execution": {func(ctx context.Context) error {
			_, err := client.Get(ctx, kube.Execution{Kind: target.Kind, Name: "none", Namespace: target.Namespace})
			return err
		}, kube.ErrNotFound},
		"no such pod": {func(ctx context.Context) error {
			_, err := client.Termination(ctx, kube.Execution{Kind: target.Kind, Name: "none", Namespace: target.Namespace})
			return err
		}, kube.ErrNotFound},
		"no time": {func(ctx context.Context) error {
			ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
			defer cancel()
			_, err := client.List(ctx, target.Namespace)
			return err
		}, kube.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.call(Context(t)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
