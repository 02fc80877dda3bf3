const data=JSON.parse(document.getElementById("data").textContent),q=s=>document.querySelector(s);
const viewer=q(".viewer"),slider=q("#frame");let playing=0,shown=0;
function read(frame){document.querySelectorAll(".chart").forEach(c=>{
 const t=data.tracks.find((_,i)=>i==[...document.querySelectorAll("section")].indexOf(c.closest("section")));
 const i=t.frames.indexOf(frame),v=i<0?[]:t.courses[c.dataset.course].map(s=>s[i]);
 const x=(frame+.5)/data.count*640,l=c.querySelector(".cursor");l.setAttribute("x1",x);l.setAttribute("x2",x);
 c.querySelector("output").innerHTML="frame "+frame+": "+
  v.map((a,k)=>"<b style='color:var(--c"+k+")'>"+(a===null?"–":a)+"</b>").join(" ")})}
function show(i){if(!data.frames.length)return;shown=(i+data.frames.length)%data.frames.length;
 const f=data.frames[shown];const two=[...document.querySelectorAll(".tag select")].map(s=>+s.value);
 q("#left").src=f.overlays[two.length?two[0]:0];q("#right").src=f.overlays[two.length?two[1]:1];q("#side").src=f.side;
 document.querySelectorAll(".every img").forEach(m=>m.src=f.overlays[m.dataset.fit]);
 if(slider){slider.value=shown;q("#name").textContent=f.name+" ("+f.frame+")"}read(f.frame)}
function nearest(frame){let b=0;data.frames.forEach((f,i)=>{
 if(Math.abs(f.frame-frame)<Math.abs(data.frames[b].frame-frame))b=i});return b}
if(viewer){const divide=s=>{q(".clip").style.clipPath="inset(0 "+(100-s)+"% 0 0)";q(".handle").style.left=s+"%"};
 const move=e=>{const r=viewer.getBoundingClientRect();divide(Math.min(1,Math.max(0,(e.clientX-r.left)/r.width))*100)};
 if(data.count===1)divide(0);
 document.querySelectorAll(".tag select").forEach(s=>{s.onchange=()=>show(shown);s.onpointerdown=e=>e.stopPropagation()});
 viewer.onpointerdown=e=>{viewer.setPointerCapture(e.pointerId);move(e);viewer.onpointermove=move};
 viewer.onpointerup=viewer.onpointercancel=()=>viewer.onpointermove=null;
 const n=data.frames.length,step=n>1?(data.frames[n-1].frame-data.frames[0].frame)/(n-1):1;
 if(slider){slider.max=n-1;slider.oninput=()=>show(+slider.value);
 q("#play").onclick=()=>{if(playing){clearInterval(playing);playing=0}else
  playing=setInterval(()=>show(shown+1),Math.max(60,1000*step/data.rate));q("#play").textContent=playing?"❚❚":"▶"};
 document.onkeydown=e=>{if(e.target===slider||e.target.tagName==="SELECT")return;if(e.key==="ArrowLeft")show(shown-1);if(e.key==="ArrowRight")show(shown+1)}}
 document.querySelectorAll("svg").forEach(s=>{const at=e=>{const r=s.getBoundingClientRect();
   return Math.min(data.count-1,Math.max(0,Math.floor((e.clientX-r.left)/r.width*data.count)))};
  s.onpointermove=e=>read(at(e));s.onpointerleave=()=>read(data.frames[shown].frame);
  s.onclick=e=>show(nearest(at(e)))});show(0)}
