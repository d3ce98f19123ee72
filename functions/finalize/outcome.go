package finalize

import (
	"fmt"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Classes of failure.
const (
	classAgent          = "agent"
	classInfrastructure = "infrastructure"
	classTimeout        = "timeout"
	classCancelled      = "cancelled"
	classQuota          = "quota"
	classAuthentication = "authentication"
	classBudget         = "budget"
)

// reportable are the classes that an agent may give its failure; that it was cancelled only Graf can tell.
var reportable = []string{classAgent, classInfrastructure, classTimeout, classQuota, classAuthentication, classBudget}

// maxReason bounds a failure's reason.
const maxReason = 4096

// ending is how an attempt ended.
type ending struct {
	// status is the task's final one; of no meaning with again.
	status string
	class  string
	reason string
	// again says that the task gets another attempt.
	again bool
	// after is how long that has to wait at least.
	after time.Duration
}

// decide tells how the attempt ended. The end of the execution itself is the
// truth; what the agent reported explains it, and turns an execution that
// exited 0 into a failure if its agent said that it failed.
func decide(task query.Task, found evidence) ending {
	switch {
	case found.observation.Phase == kube.PhaseSucceeded && found.report != "failed":
		// Also of a task whose cancellation came too late.
		return ending{status: "succeeded"}
	case task.CancelRequestedAt != nil:
		return ending{status: "cancelled", class: classCancelled, reason: cancellation(task)}
	case found.observation.Phase == kube.PhaseDeadlineExceeded:
		return ending{status: "timed_out", class: classTimeout,
			reason: fmt.Sprintf("did not end within %d s and was stopped", task.TimeoutSeconds)}
	}
	class, reason := failure(found)
	if class == classTimeout {
		// The runner's deadline comes before Kubernetes' own.
		return ending{status: "timed_out", class: class, reason: clip(storable(reason), maxReason)}
	}
	end := ending{
		status: "failed", class: class, reason: clip(storable(reason), maxReason),
		again: task.Attempt < task.MaxAttempts,
	}
	switch {
	case !end.again:
	case class == classAuthentication, class == classBudget:
		end.again = false // The next one would fail alike.
	case found.overspent != "":
		end.again = false
		end.reason += "\nNo further attempt: " + found.overspent + "."
	case class == classQuota, class == classInfrastructure:
		end.after = time.Duration(found.failure.RetryAfterSeconds) * time.Second
	}
	return end
}

// cancellation says who cancelled the task, and why if they said.
func cancellation(task query.Task) string {
	reason := "cancelled by " + value(task.CancelRequestedBy)
	if why := value(task.CancelReason); why != "" {
		reason += ": " + why
	}
	return reason
}

// failure tells the class of a failure and its reason, the agent's own first.
func failure(found evidence) (class, reason string) {
	if found.failure.Class != "" {
		return found.failure.Class, words(found)
	}
	if class, reason := infrastructure(found); class != "" {
		return class, reason
	}
	return classAgent, words(found)
}

// words say what the agent reported and how it exited.
func words(found evidence) string {
	var parts []string
	if found.report == "failed" {
		parts = append(parts, "the agent reported: "+orElse(found.said, "a failure, without a reason"))
	}
	if found.observation.Phase != kube.PhaseSucceeded {
		parts = append(parts, exit(found))
	}
	return strings.Join(parts, "\n")
}

// infrastructure recognizes failures that are not the agent's doing.
func infrastructure(found evidence) (class, reason string) {
	t := found.termination
	switch {
	case found.observation.Reason == reasonGone:
		return classInfrastructure, found.observation.Message
	case t.OOMKilled:
		return classInfrastructure, "the container ran out of memory and was killed: raise its memory limit"
	case t.Reason == "ContainerStatusUnknown":
		// Its node restarted or went away; the exit code is made up.
		return classInfrastructure, "the container was lost: " + orElse(t.Message, "its node does not know how it ended")
	case found.observation.Phase == kube.PhaseFailed && t.ExitCode == 0 && t.Reason == "",
		t.ExitCode == kube.ExitUnknown, t.Reason == "Evicted",
		strings.HasPrefix(t.Reason, "ErrImage"), strings.HasPrefix(t.Reason, "ImagePull"):
		return classInfrastructure, strings.TrimSpace(
			"the container did not run: " + orElse(t.Reason, found.observation.Reason) + " " +
				orElse(t.Message, found.observation.Message))
	}
	return "", ""
}

// exit says how the process ended, with the tail of its log.
func exit(found evidence) string {
	t := found.termination
	if t.Reason == "StartError" {
		return "the agent's command could not be started: " + orElse(t.Message, "no reason is known")
	}
	text := fmt.Sprintf("the agent exited with code %d", t.ExitCode)
	if t.Signal != 0 {
		text = fmt.Sprintf("the agent was killed by signal %d", t.Signal)
	}
	if found.report == "" {
		text += " without a word"
	}
	if tail := strings.TrimSpace(t.Message); tail != "" {
		text += "; the end of its log:\n" + tail
	}
	return text
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}
