package agent

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// signs tell the class of a failure by the provider's words. The first that is met
// counts: a quota that is used up is told with the status of a rate limit.
var signs = []struct {
	class   Class
	pattern *regexp.Regexp
}{
	{ClassQuota, regexp.MustCompile(
		`(?i)\b429\b|rate.?limit|too many requests|quota|usage limit|overloaded|\b529\b|credit balance|exceeded retry limit`)},
	{ClassAuthentication, regexp.MustCompile(
		`(?i)\b401\b|\b403\b|unauthorized|forbidden|authentication|invalid.{0,10}api.?key|incorrect api key|not logged in|log ?in again`)},
	{ClassInfrastructure, regexp.MustCompile(
		`(?i)\b50[0234]\b|stream disconnected|connection (?:refused|reset|closed|failed)|error sending request|timed? ?out|` +
			`no such host|dns error|network|bad gateway|service unavailable|internal server error`)},
}

// maxWait is the longest wait that Graf takes.
const maxWait = 24 * time.Hour

// waits read how long a provider wants to be left alone.
var (
	waitSeconds = regexp.MustCompile(`(?i)(?:try again|retry|retry.?after)[^0-9]{0,20}([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|second|minute|hour)`)
	units       = map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "second": time.Second, "m": time.Minute, "minute": time.Minute,
		"h": time.Hour, "hour": time.Hour,
	}
)

// classify tells of a failure by what was said.
func classify(message string) *Failure {
	f := &Failure{Class: ClassAgent, Reason: clip(message)}
	for _, sign := range signs {
		if sign.pattern.MatchString(message) {
			f.Class = sign.class
			break
		}
	}
	if f.Class != ClassQuota && f.Class != ClassInfrastructure {
		return f
	}
	if match := waitSeconds.FindStringSubmatch(message); match != nil {
		if number, err := strconv.ParseFloat(match[1], 64); err == nil {
			f.RetryAfter = time.Duration(min(number*float64(units[strings.ToLower(match[2])]), float64(maxWait)))
		}
	}
	return f
}
