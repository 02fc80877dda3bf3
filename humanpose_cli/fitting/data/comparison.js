// The page that compares fits: two overlays under a divider, and charts of all frames.
const viewer = find(".viewer"), sections = [...document.querySelectorAll("section")];
const choices = [...document.querySelectorAll(".tag select")];
let shown = 0;

function readOut(frame) {
  for (const chart of document.querySelectorAll(".chart")) {
    const track = data.tracks[sections.indexOf(chart.closest("section"))], row = track.frames.indexOf(frame);
    const values = row < 0 ? [] : track.courses[chart.dataset.course].map(course => course[row] ?? "–");
    const x = (frame + 0.5) / data.count * 640, cursor = chart.querySelector(".cursor");
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    const coloured = values.map((value, fit) => `<b style="color:var(--c${fit})">${value}</b>`);
    chart.querySelector("output").innerHTML = `frame ${frame}: ${coloured.join(" ")}`;
  }
}
function draw(index) {
  const {overlays, side, frame} = data.frames[shown = index];
  const [left, right] = choices.length ? choices.map(choice => choice.value) : [0, 1];
  Object.entries({left: overlays[left], right: overlays[right], side}).forEach(([id, image]) => { find(`#${id}`).src = image; });
  document.querySelectorAll(".every img").forEach(image => { image.src = overlays[image.dataset.fit]; });
  readOut(frame);
}
const timeline = timelineOf(data.frames.map(({name, frame}) => `${name} (${frame})`), draw);
for (const choice of choices) {
  choice.onchange = () => draw(shown);
  choice.onpointerdown = event => event.stopPropagation();
}

function divide(share) {
  find(".clip").style.clipPath = `inset(0 ${100 * (1 - share)}% 0 0)`;
  find(".handle").style.left = `${100 * share}%`;
}
const shareAt = (event, box) => Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
viewer.onpointerdown = event => { viewer.setPointerCapture(event.pointerId); viewer.onpointermove(event); };
viewer.onpointermove = event => {
  if (viewer.hasPointerCapture(event.pointerId)) divide(shareAt(event, viewer.getBoundingClientRect()));
};
if (data.count === 1) divide(0);

for (const chart of document.querySelectorAll("svg")) {
  const frameAt = event => Math.min(data.count - 1, Math.floor(shareAt(event, chart.getBoundingClientRect()) * data.count));
  chart.onpointermove = event => readOut(frameAt(event));
  chart.onpointerleave = () => readOut(data.frames[shown].frame);
  chart.onclick = event => {
    const distances = data.frames.map(({frame}) => Math.abs(frame - frameAt(event)));
    timeline.show(distances.indexOf(Math.min(...distances)));
  };
}
timeline.show(0);
