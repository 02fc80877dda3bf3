// What pages with frames share: their values, and a timeline. A slider steps through the frames, a button plays them.
const find = selector => document.querySelector(selector), data = JSON.parse(find("#data").textContent);

// `draw(frame, previous)` shows a frame, which lasts from data.times[frame] to data.times[frame + 1]. What `video()`
// returns, if anything, shows the frame too, and leads while it plays. `run` plays or stops, and returns what it did before.
function timelineOf(names, draw, video = () => null) {
  const slider = find("#frame"), button = find("#toggle"), loop = find("#loop"), last = names.length - 1;
  let frame = 0, playing = false, started = 0, speed = 1;
  function show(next, seek = true) {
    const previous = frame, film = video();
    frame = slider.value = Math.max(0, Math.min(last, next));
    find("#name").textContent = names[frame];
    if (film && seek) film.currentTime = (data.times[frame] + data.times[frame + 1]) / 2;
    draw(frame, previous);
  }
  function run(on) {
    const before = playing;
    playing = on;
    button.textContent = on ? "❚❚" : "▶";
    if (!on) { video()?.pause(); return before; }
    if (frame === last) show(0);
    started = performance.now() - 1000 * data.times[frame] / speed;
    video()?.play().catch(() => {});
    requestAnimationFrame(tick);
    return before;
  }
  function tick(now) {
    if (!playing) return;
    // A video shows what it has decoded: the page follows it.
    const film = video(), seconds = film && !film.paused ? film.currentTime : (now - started) * speed / 1000;
    let next = frame;
    while (next < last && data.times[next + 1] <= seconds + 1e-4) next++;
    if (next !== frame) show(next, false);
    if (next < last && !film?.ended) requestAnimationFrame(tick);
    else if (loop.checked) { show(0); run(true); }
    else run(false);
  }
  function stop(next) { run(false); show(next); }  // at exactly this frame
  function setSpeed(value) {
    speed = value;
    document.querySelectorAll("video").forEach(film => { film.playbackRate = speed; });
    started = performance.now() - 1000 * data.times[frame] / speed;
  }
  slider.oninput = () => stop(+slider.value);
  button.onclick = () => { if (playing) stop(frame); else run(true); };
  find("#speed").onchange = event => setSpeed(+event.target.value);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.target !== slider && ["INPUT", "SELECT"].includes(event.target.tagName)) return;
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) { event.preventDefault(); stop(frame + step); }
    if (event.key === " " && event.target.tagName !== "BUTTON") { event.preventDefault(); button.click(); }
  });
  return {show, run};
}
