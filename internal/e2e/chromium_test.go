package e2e_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// StartChromium opens a tab in a real browser with a fresh profile; Do and Ask take the context. Every name under
// .test leads to 127.0.0.1. The test's end closes it; the test is skipped where there is no browser.
func StartChromium(t *testing.T) context.Context {
	t.Helper()
	browser, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	if err != nil {
		skipWithout(t, "chromium (CHROMIUM names another)", err)
	}
	// Not the test's own context: it ends before the clean-up that closes the browser well.
	limited, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	allocator, stop := chromedp.NewExecAllocator(limited, // makes and removes a profile of its own
		chromedp.ExecPath(browser), chromedp.WindowSize(1000, 760),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"),
	)
	t.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocator, chromedp.WithLogf(t.Logf), chromedp.WithErrorf(t.Logf))
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start %s: %v", browser, err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(tab); err != nil {
			t.Logf("close the browser: %v", err)
		}
	})
	return tab
}

// NewTab opens another tab of the same browser, with the same cookies.
func NewTab(t *testing.T, tab context.Context) context.Context {
	t.Helper()
	other, closeTab := chromedp.NewContext(tab)
	t.Cleanup(closeTab)
	if err := chromedp.Do(other); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return other
}

// Do runs steps in a tab. Where one fails the test ends, with a screenshot of what the tab shows.
func Do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	Ask(t, tab, chromedp.Steps(steps...))
}

// Ask runs an action that has a result, such as chromedp.Text, as Do does.
func Ask[T any](t *testing.T, tab context.Context, action chromedp.Action[T]) T {
	t.Helper()
	limited, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	result, err := chromedp.Run(limited, action)
	if err != nil {
		Screenshot(t, tab, "failed")
		t.Fatalf("in the browser: %v", err)
	}
	return result
}

// Screenshot writes what a tab shows as a PNG and returns where it is.
func Screenshot(t *testing.T, tab context.Context, name string) string {
	t.Helper()
	limited, cancel := context.WithTimeout(tab, 15*time.Second)
	defer cancel()
	picture, err := chromedp.Run(limited, chromedp.FullScreenshot(100))
	if err != nil {
		t.Errorf("screenshot: %v", err)
		return ""
	}
	file := artifact(t, name+".png")
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		t.Error(err)
	}
	t.Logf("screenshot: %s", file)
	return file
}
